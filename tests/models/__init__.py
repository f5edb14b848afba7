"""The families against torchvision and timm, and the contract that all of them keep."""

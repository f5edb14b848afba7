"""Names of the weights of MLP-Mixer and gMLP in timm."""

LAYOUTS = {
    "timm": (
        ("stem/patch", "stem.proj"),
        ("block{i}/norm", "blocks.{i-1}.norm"),
        ("block{i}/norm{k}", "blocks.{i-1}.norm{k}"),
        ("block{i}/mlp_tokens/expand", "blocks.{i-1}.mlp_tokens.fc1"),
        ("block{i}/mlp_tokens/contract", "blocks.{i-1}.mlp_tokens.fc2"),
        ("block{i}/mlp_channels/expand", "blocks.{i-1}.mlp_channels.fc1"),
        ("block{i}/mlp_channels/contract", "blocks.{i-1}.mlp_channels.fc2"),
        ("block{i}/expand", "blocks.{i-1}.mlp_channels.fc1"),
        ("block{i}/gate_norm", "blocks.{i-1}.mlp_channels.gate.norm"),
        ("block{i}/gate", "blocks.{i-1}.mlp_channels.gate.proj"),
        ("block{i}/contract", "blocks.{i-1}.mlp_channels.fc2"),
        ("norm", "norm"),
        ("head", "head"),
    ),
}

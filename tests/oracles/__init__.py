"""Independent reference implementations: papers' formulas in float64 numpy, and the layouts of other libraries' weights."""

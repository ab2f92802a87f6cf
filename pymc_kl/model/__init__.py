"""A `pm.Model` as a batched log density on R^d; draws on it; draws as DataTrees."""

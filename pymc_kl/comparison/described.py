"""What each column of a comparison is and its unit, as attributes that xarray and plots show."""

import xarray as xr

NATS = "nats"
COLUMNS = {  # long name and unit; none for what is a ratio, a probability, a count or a text
    "forward_kl": ("forward KL divergence KL(p‖q)", NATS),
    "reverse_kl": ("reverse KL divergence KL(q‖p)", NATS),
    "elbo": ("evidence lower bound", NATS),
    "eubo": ("evidence upper bound", NATS),
    "forward_kl_between": ("forward KL between modes", NATS),
    "forward_kl_within": ("forward KL within modes", NATS),
    "reverse_kl_between": ("reverse KL between modes", NATS),
    "reverse_kl_within": ("reverse KL within modes", NATS),
    "forward_kl_relabelled": ("forward KL up to relabelling", NATS),
    "reverse_kl_relabelled": ("reverse KL up to relabelling", NATS),
    "elbo_gap": ("what the ELBO can still gain", NATS),
    "mode_jsd": ("Jensen-Shannon divergence of the masses of modes", NATS),
    "mode_tv": ("total variation of the masses of modes", ""),
    "ess_forward": ("efficiency of importance sampling from q, by draws of p", ""),
    "ess_reverse": ("efficiency of importance sampling from q, by draws of q", ""),
    "missed_mass": ("mass of the modes that are missed", ""),
    "spill": ("share of q where the posterior has almost none", ""),
    "khat": ("Pareto k of importance sampling from q", ""),
    "khat_reference": ("Pareto k of importance sampling from p", ""),
    "seconds": ("time of the fit", "s"),
    "mass": ("mass of the mode", ""),
    "ratio": ("mass over that of the reference", ""),
    "hdr_coverage": ("share of the mode's draws in the 90 % region of q", ""),
    "width": ("standard deviation over the reference's", ""),
    "elsewhere": ("mass in no mode", ""),
    "barrier": ("fall of the log density on the way to the next mode", NATS),
    "log_density": ("log density at the maximum", NATS),
    "log_mass": ("log of the integral over the mode", NATS),
    "log_mass_laplace": ("the same by Laplace's approximation", NATS),
    "log_evidence": ("log evidence, log Z", NATS),
    "copies": ("copies of the mode under symmetries", ""),
    "overlap": ("overlap of draws and proposal", ""),
}
OF = {
    "_se": "standard error of: ",
    "_lower": "lower end of the 95 % interval of: ",
    "_upper": "upper end of the 95 % interval of: ",
}


def described(ds: xr.Dataset) -> xr.Dataset:
    """Return a table whose columns have a `long_name`, and `units` where they have any."""
    ds = ds.copy()
    for name in map(str, ds.data_vars):
        suffix = next((end for end in OF if name.removesuffix(end) in ds and name.endswith(end)), "")
        text, unit = COLUMNS.get(name.removesuffix(suffix), (name.removesuffix(suffix).replace("_", " "), ""))
        ds[name].attrs |= {"long_name": f"{OF.get(suffix, '')}{text}"} | ({"units": unit} if unit else {})
    return ds

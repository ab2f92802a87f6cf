"""Make one self-contained page that says which modes each approximation covers, how well, and what it is good for.

`verdict_data` is the verdict as data, and `changes_since` what changed since an earlier comparison. `Section`, `Code`,
`Figure`, `Painter`, `css_variables` and `page_environment` are the parts that the page is made of, for a page of one's
own.
"""

from pymc_kl.reports.build import Report, report
from pymc_kl.reports.changes import changes_since
from pymc_kl.reports.figures import Figure, Painter
from pymc_kl.reports.markup import page_environment
from pymc_kl.reports.page import Code, Section
from pymc_kl.reports.theme import css_variables
from pymc_kl.reports.verdict_data import verdict_data

__all__ = [
    "Code",
    "Figure",
    "Painter",
    "Report",
    "Section",
    "changes_since",
    "css_variables",
    "page_environment",
    "report",
    "verdict_data",
]

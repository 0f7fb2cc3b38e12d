"""The statistics of the report.  The formulas, their sources and their limits stand in docs/reading-the-report.md.

`proportions`       exact bounds on a failure probability, from counts
`sequential`        the same while a campaign runs, and when it may stop early
`planning`, `pace`  how many trials a claim needs; how fast a bench makes them
`releases`          two releases compared by failures
`timing`, `shift`   quantiles and distribution of durations; two releases compared by durations
`homogeneity`       whether boards or nights may be pooled
`many_comparisons`  corrections where many things are tested
`unseen`            behaviour not seen yet

Every answer is an `Answer`: where the data do not suffice, `lacking` says so in words.
"""

from __future__ import annotations

from rig.report.statistics.answer import CONFIDENCE, Answer, Counts, pooled
from rig.report.statistics.planning import trials_needed
from rig.report.statistics.proportions import interval, upper_bound

__all__ = ["CONFIDENCE", "Answer", "Counts", "interval", "pooled", "trials_needed", "upper_bound"]

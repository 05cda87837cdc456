"""How one release of a service replaces another without a lost request, and how that is undone.
Pure.

`decide` decides on one service at a time, from its stored state (`model.releases`) and from the
looks (`Situation`). It returns at most one step, which has to be on the disk before the next
decision, and the effects of the stored steps: slots that run, replicas that are stopped, servers at
the gateway. So the daemon takes no action that it would not take again after a restart.

- `ledger` sums up the stored steps; `case` has the values for the rules; `rules` is their table.
- `shift` chooses the next slot to drain; `effects` describes what the steps allow.
"""

from hostler.decide.releases.rules import Decision as Decision
from hostler.decide.releases.rules import decide as decide
from hostler.decide.releases.situation import Replica as Replica
from hostler.decide.releases.situation import Situation as Situation

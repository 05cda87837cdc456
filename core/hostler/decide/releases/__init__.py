"""How one release of a service replaces another without a lost request, and how that is undone.
Pure.

`decide` looks at one service at a time: what is stored of it (`model.releases`) and what was seen
(`Situation`). It gives at most one step, which has to be durable before the next decision, and what
the stored steps allow now: slots that run, replicas that are stopped, servers at the gateway. So
nothing is ever done that a restarted daemon would not do again.

- `ledger` adds the stored steps up; `case` is what the rules ask; `rules` is their table.
- `shift` chooses the next slot to drain; `effects` says what is allowed.
"""

from hostler.decide.releases.rules import Decision as Decision
from hostler.decide.releases.rules import decide as decide
from hostler.decide.releases.situation import Replica as Replica
from hostler.decide.releases.situation import Situation as Situation

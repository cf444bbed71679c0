"""For ServerApps that the broker carries: patience, quorum, and the record that a run is judged by.

    federation = Federation(grid, Terms.from_environ(os.environ))
    strategy = Average(federation)          # class Average(Quorum, FedAvg)
    strategy.start(grid=federation, num_rounds=federation.terms.rounds, ...)
    federation.book.close({"accuracy": 0.97})

Nothing of flwr is imported here: what a strategy gets is shaped like Flower's `Grid`.
"""

from broker.fl.book import Book, Terms
from broker.fl.grid import Federation
from broker.fl.quorum import Quorum

__all__ = ["Book", "Federation", "Quorum", "Terms"]

"""A Ctrl-C is a Ctrl-C, also when it falls into the clean-up of a library."""

from __future__ import annotations

from broker.cli.main import interrupted


def raised(first: BaseException, then: BaseException) -> BaseException:
    try:
        try:
            raise first
        finally:
            raise then
    except BaseException as error:
        return error


def test_an_interrupt_behind_another_error_is_found() -> None:
    assert interrupted(raised(KeyboardInterrupt(), AssertionError("not closed")))
    assert interrupted(KeyboardInterrupt())


def test_an_error_of_its_own_is_a_defect() -> None:
    assert not interrupted(raised(ValueError(), AssertionError("not closed")))
    assert not interrupted(None)

"""Who may do what at the desk, in one place."""

from enum import StrEnum

from eye_dx_core.records.accounts import Role


class Act(StrEnum):
    """What can be done."""

    SEE_LIST = "see_list"
    SEE_CASE = "see_case"
    REVIEW = "review"
    LINK = "link"


ALLOWED: dict[Act, frozenset[Role]] = {
    Act.SEE_LIST: frozenset({Role.DOCTOR, Role.SCREENER, Role.AUDITOR}),
    Act.SEE_CASE: frozenset({Role.DOCTOR, Role.AUDITOR}),
    Act.REVIEW: frozenset({Role.DOCTOR}),
    Act.LINK: frozenset({Role.DOCTOR}),
}

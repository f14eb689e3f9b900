"""The page of settings says what there is."""

from tests.settings_reference import PAGE, page


def test_the_page_of_settings_is_that_of_this_program():
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python -m tests.settings_reference"

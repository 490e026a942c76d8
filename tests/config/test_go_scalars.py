"""How programs in Go read plain scalars. The right column is what sigs.k8s.io/yaml v1.6 gave for a field of text."""

from __future__ import annotations

import pytest

from agent.config.go_scalars import read


@pytest.mark.parametrize(
    ("written", "kind", "text"),
    [
        ("0600", "number", "384"), ("02000", "number", "1024"), ("0089", "number", "89"), ("0x1F", "number", "31"),
        ("0b101", "number", "5"), ("0o17", "number", "15"), ("1_000", "number", "1000"), ("+5", "number", "5"),
        ("-0x10", "number", "-16"), ("18446744073709551615", "number", "18446744073709551615"),
        ("18446744073709551616", "number", "1.8446744e+19"), ("1e3", "number", "1000"), ("1e6", "number", "1e+06"),
        ("1.10", "number", "1.1"), ("123456789.0", "number", "1.2345679e+08"), ("0.00001", "number", "1e-05"),
        (".5", "number", "0.5"), ("5.", "number", "5"), ("-0.0", "number", "-0"), ("1e76", "number", "+Inf"),
        (".inf", "number", "+Inf"), ("-.INF", "number", "-Inf"), (".NaN", "number", "NaN"),
        ("1e400", "text", "1e400"), ("12:30", "text", "12:30"), ("2026-01-17", "text", "2026-01-17"),
        ("1.2.3", "text", "1.2.3"), ("_1", "text", "_1"), ("harbor", "text", "harbor"), ("०६४४", "text", "०६४४"),
        ("y", "boolean", "true"), ("No", "boolean", "false"), ("on", "boolean", "true"), ("oN", "text", "oN"),
        ("~", "null", ""), ("null", "null", ""), ("", "null", ""), ("nULL", "text", "nULL"),
    ],
)  # fmt: skip
def test_a_plain_scalar_is_read_as_go_reads_it(written: str, kind: str, text: str) -> None:
    """Numbers and booleans of YAML 1.1, as the texts that they become; dates and times stay."""
    assert read(written) == (kind, text)

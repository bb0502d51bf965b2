def test_ratios_are_paired_by_round():
    import precision

    rates = {", ".join(way): [100.0, 200.0, 300.0] for way in precision.WAYS}
    rates["bf16, native"] = [200.0, 800.0, 600.0]
    result = {"accurate": {"threads": 1, "images_per_second": rates}}
    row = precision.table(result).splitlines()[-1]
    assert row.startswith("| `accurate` | 1 | 200 (1.00) | 200 (1.00) | 200 (1.00) | 600 (2.00) |")

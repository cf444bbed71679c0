"""Which offer carries a demand, and why the others do not. Pure.

`match` compares an offer with what the task asks, `tally` counts every refused offer under one
reason, `choose` ranks what is left, `explain` turns an empty plan into words and an error.
`blame` counts refused offers by all that refuses them, `ways` says from that what would admit some
and what each rule costs, `trace` shows one offer before every rule.
"""

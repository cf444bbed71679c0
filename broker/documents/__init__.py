"""Users' YAML files: read within bounds, checked against a shape, turned into values with places.

`loader` and `builder` give a tree that knows where everything stands; `check` compares it with the
shapes in `task`, `federation`, `policy_shape` and `config_file` and says all that is wrong;
`codes` lists what each code means.
"""

"""Facts that ship with Trimtab: accelerators, model geometries, node labels, dated prices."""

"""Other autoscalers' published decision rules, to judge the planner beside them.

Each module names its source, its defaults and what it assumes where the source is silent. Equal to
decisions of the original's own code (tests/data/rivals): hpa, kpa, skyserve (its target), melange,
aibrix (its programme), wva_saturation, wva_queue and wva_optimizer (to 1e-4), dynamo_profile. From
a description alone: keda, kubeai, ray_serve, llmd, kthena, wva_tokens, dynamo's loops, aibrix's
APA, skyserve's placement. `static` has nothing to be wrong about.
"""

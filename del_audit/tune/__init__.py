"""Before certifying: the configuration that suits a policy best, and how much must be attacked to certify it."""

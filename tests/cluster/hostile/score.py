"""Counts what passed and failed of the suites against a real cluster, and says it."""


class Score:
    def __init__(self, verbose):
        self.passed = self.failed = 0
        self.verbose = verbose

    def say(self, name, wrong, note=""):
        if wrong:
            self.failed += 1
            print(f"FAILED {name}: {wrong}", flush=True)
        else:
            self.passed += 1
            if self.verbose or note:
                print(f"ok     {name} {note}", flush=True)

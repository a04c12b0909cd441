"""Claims, counted: each is shown with "ok" or "FAILED", and the last line is what tests/run reads."""
import traceback

passed, failed = 0, 0


def claim(what, holds, detail=""):
    """holds: a truth, or a function that returns one (or raises)."""
    global passed, failed
    try:
        result = holds() if callable(holds) else holds
    except Exception:  # noqa: BLE001: it is the claim's failure
        result, detail = False, traceback.format_exc()
    if result:
        passed += 1
        print("ok      " + what, flush=True)
    else:
        failed += 1
        print("FAILED  " + what, flush=True)
        if detail:
            print("        " + str(detail() if callable(detail) else detail).strip().replace("\n", "\n        "), flush=True)
    return bool(result)


def total():
    print(f"{passed} passed, {failed} failed", flush=True)
    return 0 if passed and not failed else 1

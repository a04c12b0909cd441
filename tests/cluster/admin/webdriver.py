"""A headless Chromium, spoken to in the WebDriver protocol (W3C) with nothing but the standard library."""
import json
import urllib.error
import urllib.request

from procs import free_port, http, wait_until

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"


class Browser:
    def __init__(self, scratch):
        port = free_port()
        scratch.start("chromedriver", "chromedriver", f"--port={port}")
        self.base = f"http://127.0.0.1:{port}"
        wait_until("chromedriver", 60, lambda: http(f"{self.base}/status")[0] == 200)
        options = {"args": ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", f"--user-data-dir={scratch.path('chromium')}"]}
        answer = self._call("POST", "/session", {"capabilities": {"alwaysMatch": {"browserName": "chrome", "goog:chromeOptions": options,
                                                                                  "goog:loggingPrefs": {"browser": "ALL"}}}})
        self.session = f"/session/{answer['sessionId']}"

    def _call(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data=data, method=method, headers={"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=120) as f:
                return json.loads(f.read())["value"]
        except urllib.error.HTTPError as e:
            raise RuntimeError(f"{path}: {e.read()[:300]}") from e

    def go(self, url):
        self._call("POST", f"{self.session}/url", {"url": url})

    def title(self):
        return self._call("GET", f"{self.session}/title")

    def source(self):
        return self._call("GET", f"{self.session}/source")

    def texts(self, css):
        return [self._call("GET", f"{self.session}/element/{e[ELEMENT]}/text") for e in self._find(css)]

    def attribute(self, css, name):
        """Of the first that matches; None when none does."""
        found = self._find(css)
        return self._call("GET", f"{self.session}/element/{found[0][ELEMENT]}/attribute/{name}") if found else None

    def click(self, css):
        self._call("POST", f"{self.session}/element/{self._find(css)[0][ELEMENT]}/click", {})

    def _find(self, css):
        return self._call("POST", f"{self.session}/elements", {"using": "css selector", "value": css})

    def console(self):
        """What the console has had since the last call."""
        return [line["message"] for line in self._call("POST", f"{self.session}/se/log", {"type": "browser"})]

    def quit(self):
        self._call("DELETE", self.session)

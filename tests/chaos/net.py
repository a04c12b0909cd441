"""A network of its own: a bridge in this namespace, one namespace a node with one address on it. Faults are nftables rules inside the node's namespace, so
nothing of the machine's own network is touched. This kernel has no netem and no nft queue; loss is numgen, resets are rejects."""
import random

from machine import sh

MARK = "chaos"


class Net:
    def __init__(self, ledger):
        self.ledger = ledger
        self.id = random.SystemRandom().randrange(1 << 16)
        self.prefix = f"10.{100 + self.id % 100}.{self.id // 256}"
        self.bridge = f"tc{self.id:04x}"
        self.nodes = {}
        ledger.add("link", self.bridge)
        sh("ip", "link", "add", self.bridge, "type", "bridge")
        sh("ip", "addr", "add", f"{self.prefix}.254/24", "dev", self.bridge)
        sh("ip", "link", "set", self.bridge, "up")

    def add(self, name):
        """A namespace; its address."""
        n = len(self.nodes) + 1
        ns, address = f"{self.bridge}-{n}", f"{self.prefix}.{n}"
        self.ledger.add("netns", ns)
        sh("ip", "netns", "add", ns)
        sh("ip", "link", "add", f"{self.bridge}v{n}", "type", "veth", "peer", "name", "eth0", "netns", ns)
        sh("ip", "link", "set", f"{self.bridge}v{n}", "master", self.bridge, "up")
        for argv in (["addr", "add", f"{address}/24", "dev", "eth0"], ["link", "set", "eth0", "up"], ["link", "set", "lo", "up"]):
            sh("ip", "-n", ns, *argv)
        self.nodes[name] = (ns, address)
        return ns, address

    def address(self, name):
        return self.nodes[name][1]

    def inside(self, name, *argv, text=None, check=True):
        return sh("nsenter", f"--net=/run/netns/{self.nodes[name][0]}", *argv, text=text, check=check)

    def rules(self, name, lines):
        """Puts these rules into the node's namespace, in place of those before. lines: (chain, rule), chain input or output; each counts."""
        text = f"table inet {MARK} {{}}\ndelete table inet {MARK}\ntable inet {MARK} {{\n"
        for chain in ("input", "output"):
            text += f"chain {chain} {{ type filter hook {chain} priority 0; policy accept;\n"
            text += "".join(rule + "\n" for where, rule in lines if where == chain) + "}\n"
        self.inside(name, "nft", "-f", "-", text=text + "}\n")

    def heal(self, name):
        self.inside(name, "nft", "delete", "table", "inet", MARK, check=False)

    def hits(self, name):
        """Packets that the rules of a node have met."""
        words = self.inside(name, "nft", "list", "table", "inet", MARK, check=False).split()
        return sum(int(words[i + 1]) for i, w in enumerate(words[:-1]) if w == "packets")

    # --- kinds of rules ---

    def cut(self, name, others, both=True):
        """Nothing from those; with both, nothing to them either."""
        who = "{ " + ", ".join(self.address(o) for o in others) + " }"
        lines = [("input", f"ip saddr {who} counter drop")]
        if both:
            lines.append(("output", f"ip daddr {who} counter drop"))
        self.rules(name, lines)

    def lose(self, name, percent):
        self.rules(name, [(c, f"ip saddr {self.prefix}.0/24 ip daddr {self.prefix}.0/24 numgen random mod 100 < {percent} counter drop") for c in ("input", "output")])

    def reset(self, name, others, percent):
        who = "{ " + ", ".join(self.address(o) for o in others) + " }"
        some = f"numgen random mod 1000 < {percent * 10} " if percent < 100 else ""
        self.rules(name, [("input", f"ip saddr {who} meta l4proto tcp {some}counter reject with tcp reset")])

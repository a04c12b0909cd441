"""Damage to bytes: at rest (bits of files flip while their owner is down) and on the wire (a proxy in front of a node's RPC port)."""
import os
import random
import select
import socket
import sys
import threading


def flip(path, offset, bit):
    with open(path, "r+b") as f:
        f.seek(offset)
        byte = f.read(1)[0]
        f.seek(offset)
        f.write(bytes([byte ^ 1 << bit]))


def flip_some(rand, paths, flips):
    """Flips so many bits at random places of random files, larger ones more often; what was flipped, as text."""
    sizes = [(p, os.path.getsize(p)) for p in paths]
    sizes = [(p, n) for p, n in sizes if n > 0]
    done = []
    for _ in range(flips):
        path, size = rand.choices(sizes, [n for _, n in sizes])[0]
        offset, bit = rand.randrange(size), rand.randrange(8)
        flip(path, offset, bit)
        done.append(f"{os.path.basename(path)}@{offset}.{bit}")
    return done


# --- the proxy: started inside a node's network namespace as a process of its own ---

class Proxy:
    """Takes connections at port, passes them on to address:target, and damages a part of what comes through: flipped bits, cut and doubled pieces."""

    def __init__(self, address, port, target, share, seed):
        self.address, self.target, self.share, self.random = address, target, share, random.Random(seed)
        self.pieces = self.damaged = 0
        self.listener = socket.create_server(("0.0.0.0", port), backlog=64)

    def damage(self, data):
        self.pieces += 1
        if self.random.random() >= self.share:
            return data
        self.damaged += 1
        kind, out = self.random.randrange(4), bytearray(data)
        if kind < 2:
            for _ in range(self.random.randrange(1, 9)):
                out[self.random.randrange(len(out))] ^= 1 << self.random.randrange(8)
        elif kind == 2:
            del out[self.random.randrange(len(out)):]
        else:
            out += out
        return bytes(out)

    def pump(self, a, b):
        ends = {a: b, b: a}
        try:
            while True:
                for s in select.select([a, b], [], [])[0]:
                    data = s.recv(65536)
                    if not data:
                        return
                    ends[s].sendall(self.damage(data))
        except OSError:
            pass
        finally:
            a.close()
            b.close()

    def serve(self):
        while True:
            a, _ = self.listener.accept()
            try:
                b = socket.create_connection((self.address, self.target), timeout=2)
                b.settimeout(None)
            except OSError:
                a.close()
                continue
            threading.Thread(target=self.pump, args=(a, b), daemon=True).start()

    def tell(self):
        """A line a fifth of a second: pieces and how many of them were damaged."""
        while True:
            print(self.pieces, self.damaged, flush=True)
            threading.Event().wait(0.2)


if __name__ == "__main__":
    proxy = Proxy(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5]))
    threading.Thread(target=proxy.tell, daemon=True).start()
    proxy.serve()

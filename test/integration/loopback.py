"""Brings the loopback of a new network namespace up and gives it one more address.

Python's ioctl does what `ip link` and `ip addr` do, without iproute2 on the machine.
"""

import fcntl
import socket
import struct
import sys

SIOCSIFFLAGS, SIOCSIFADDR, IFF_UP_RUNNING = 0x8914, 0x8916, 0x41


def request(name: str, payload: bytes) -> bytes:
    return struct.pack("16s", name.encode()) + payload.ljust(24, b"\0")


with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
    fcntl.ioctl(control, SIOCSIFFLAGS, request("lo", struct.pack("H", IFF_UP_RUNNING)))
    address = struct.pack("HH4s", socket.AF_INET, 0, socket.inet_aton(sys.argv[1]))
    fcntl.ioctl(control, SIOCSIFADDR, request("lo:1", address))
    fcntl.ioctl(control, SIOCSIFFLAGS, request("lo:1", struct.pack("H", IFF_UP_RUNNING)))

"""An HTTP/2 client on Python's h2: python3 h2-client.py PORT [no-trailers]. Prints one line per exchange, in order of the requests."""
import hashlib
import socket
import sys

import h2.config
import h2.connection
import h2.events

REQUESTS = [
    ("GET", "/a", b"", False),
    ("POST", "/large", b"x" * 700_000, False),
    ("HEAD", "/head", b"", False),
    ("POST", "/trailers", b"with trailers", True),
    ("GET", "/missing", b"", False),
] + [("GET", "/many/%d" % n, b"", False) for n in range(40)]


class Client:
    def __init__(self, port):
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.conn = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
        self.conn.initiate_connection()
        self.bodies, self.statuses, self.results, self.left = {}, {}, {}, {}

    def flush(self):
        data = self.conn.data_to_send()
        if data:
            self.sock.sendall(data)

    def push(self, stream):
        body, trailers = self.left[stream]
        while body:
            room = min(self.conn.local_flow_control_window(stream), self.conn.max_outbound_frame_size)
            if room == 0:
                self.left[stream] = (body, trailers)
                return
            self.conn.send_data(stream, body[:room])
            body = body[room:]
        del self.left[stream]
        if trailers and sys.argv[2:] != ["no-trailers"]:
            self.conn.send_headers(stream, [("x-trailer", "sent")], end_stream=True)
        else:
            self.conn.end_stream(stream)

    def run(self):
        streams = []
        for method, path, body, trailers in REQUESTS:
            stream = self.conn.get_next_available_stream_id()
            headers = [(":method", method), (":scheme", "http"), (":authority", "h"), (":path", path)]
            self.conn.send_headers(stream, headers, end_stream=not body)
            streams.append(stream)
            self.bodies[stream] = hashlib.sha256()
            if body:
                self.left[stream] = (body, trailers)
                self.push(stream)
        self.flush()
        while len(self.results) < len(streams):
            data = self.sock.recv(65536)
            if not data:
                raise SystemExit("the connection was closed")
            for event in self.conn.receive_data(data):
                self.on(event)
            for stream in list(self.left):
                self.push(stream)
            self.flush()
        for stream, (method, path, _, _) in zip(streams, REQUESTS):
            print(method, path, self.results[stream])

    def on(self, event):
        stream = getattr(event, "stream_id", None)
        if isinstance(event, h2.events.ResponseReceived):
            self.statuses[stream] = dict(event.headers)[":status"]
        elif isinstance(event, h2.events.DataReceived):
            self.bodies[stream].update(event.data)
            self.conn.acknowledge_received_data(event.flow_controlled_length, stream)
        elif isinstance(event, h2.events.StreamEnded):
            self.results[stream] = "%s %s" % (self.statuses[stream], self.bodies[stream].hexdigest()[:8])
        elif isinstance(event, (h2.events.StreamReset, h2.events.ConnectionTerminated)):
            raise SystemExit("reset: %r" % event)


Client(int(sys.argv[1])).run()

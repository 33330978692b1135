"""libtorrent, as a peer of hive-bench: makes a torrent, seeds it, or fetches it.

    torrent.py make FILE TORRENT
    torrent.py seed FILE TORRENT
    torrent.py fetch TORRENT DIRECTORY PEER...

Each says what it has to on stdout, a line of JSON at a time, and ends with its stdin. `seed` answers
each line with the bytes that it has sent. `fetch` begins when it is told a line. Told `true`, it
says when half is here, and saves its resume data four times a second; it goes on from them when
they are in the directory.

Tuned for what is measured, a few fast peers on one machine: TCP without encryption, every peer
unchoked at once, deep queues and large send buffers, no limit, nobody looked for.
"""

import json
import os
import sys
import time

import libtorrent as lt

PIECE = 4 << 20
SAVE_EVERY = 0.25
SETTINGS = {
    "alert_mask": lt.alert.category_t.status_notification
    | lt.alert.category_t.storage_notification
    | lt.alert.category_t.piece_progress_notification
    | lt.alert.category_t.error_notification,
    "alert_queue_size": 100_000,
    "listen_interfaces": "127.0.0.1:0",
    "enable_dht": False,
    "enable_lsd": False,
    "enable_upnp": False,
    "enable_natpmp": False,
    "enable_incoming_utp": False,
    "enable_outgoing_utp": False,
    "in_enc_policy": 2,
    "out_enc_policy": 2,
    "allow_multiple_connections_per_ip": True,
    "unchoke_slots_limit": -1,
    "connection_speed": 500,
    "smooth_connects": False,
    "tick_interval": 100,
    "max_out_request_queue": 3000,
    "max_allowed_in_request_queue": 6000,
    "request_queue_time": 10,
    "send_buffer_low_watermark": 2 << 20,
    "send_buffer_watermark": 16 << 20,
    "send_buffer_watermark_factor": 200,
    "send_not_sent_low_watermark": 1 << 20,
    "send_socket_buffer_size": 4 << 20,
    "recv_socket_buffer_size": 4 << 20,
    "max_peer_recv_buffer_size": 8 << 20,
    "max_queued_disk_bytes": 64 << 20,
    "aio_threads": 2,
    "hashing_threads": 1,
}


def say(**line):
    print(json.dumps(line), flush=True)


def make(file, torrent):
    files = lt.list_files(file)
    made = lt.create_torrent(files, piece_size=PIECE, flags=lt.create_torrent.v1_only)
    lt.set_piece_hashes(made, os.path.dirname(file))
    with open(torrent, "wb") as out:
        out.write(lt.bencode(made.generate()))


def seed(file, torrent):
    session = lt.session(SETTINGS)
    params = lt.add_torrent_params()
    params.ti = lt.torrent_info(torrent)
    params.save_path = os.path.dirname(file)
    params.flags = lt.torrent_flags.seed_mode
    handle = session.add_torrent(params)
    say(address=f"127.0.0.1:{session.listen_port()}")
    for _ in sys.stdin:
        say(sent=handle.status().total_payload_upload)


class Fetch:
    """One fetch, from the moment its torrent is added."""

    def __init__(self, torrent, directory, peers):
        self.resume = os.path.join(directory, "resume")
        self.session = lt.session(SETTINGS)
        self.info = lt.torrent_info(torrent)
        self.size = self.info.total_size()
        self.directory = directory
        self.peers = [peer.rsplit(":", 1) for peer in peers]
        self.here = self.hashed = self.pieces = 0
        self.checked = False
        self.first = None

    def params(self):
        if os.path.exists(self.resume):
            with open(self.resume, "rb") as file:
                params = lt.read_resume_data(file.read())
        else:
            params = lt.add_torrent_params()
        params.ti = self.info
        params.save_path = self.directory
        params.flags = lt.torrent_flags.disable_pex
        return params

    def save(self, alert):
        with open(self.resume + ".new", "wb") as file:
            file.write(lt.write_resume_data_buf(alert.params))
        os.replace(self.resume + ".new", self.resume)

    def run(self, tell):
        start = time.monotonic()
        saved, half = start, tell
        handle = self.session.add_torrent(self.params())
        while True:
            self.session.wait_for_alert(250)
            now = time.monotonic()
            for alert in self.session.pop_alerts():
                if isinstance(alert, lt.piece_finished_alert):
                    # Before that, they are pieces that were found here.
                    if self.checked:
                        self.first = self.first or now - start
                        self.pieces += 1
                elif isinstance(alert, lt.torrent_finished_alert):
                    return now - start
                elif isinstance(alert, lt.torrent_checked_alert):
                    self.checked = True
                    self.here = handle.status().total_wanted_done
                    # Named earlier, they would wait for a tick of a second.
                    for host, port in self.peers:
                        handle.connect_peer((host, int(port)))
                elif isinstance(alert, lt.state_changed_alert):
                    if alert.state == lt.torrent_status.checking_files:
                        # Without resume data all that is on the disk is read and hashed.
                        path = os.path.join(self.directory, self.info.name())
                        if os.path.exists(path):
                            self.hashed = min(os.stat(path).st_blocks * 512, self.size)
                elif isinstance(alert, lt.save_resume_data_alert):
                    self.save(alert)
                elif isinstance(
                    alert, (lt.torrent_error_alert, lt.file_error_alert, lt.hash_failed_alert)
                ):
                    sys.exit(alert.message())
            if half and self.here + self.pieces * PIECE >= self.size / 2:
                half = False
                say(bytes=self.here + self.pieces * PIECE)
            if tell and now - saved >= SAVE_EVERY:
                saved = now
                handle.save_resume_data(lt.save_resume_flags_t.flush_disk_cache)


def fetch(torrent, directory, peers):
    one = Fetch(torrent, directory, peers)
    say(ready=True)
    told = sys.stdin.readline()
    if told:
        seconds = one.run(told.strip() == "true")
        first = (one.first or seconds) * 1e3
        say(seconds=seconds, first_ms=first, present=one.here, hashed=one.hashed)
        sys.stdin.read()


if __name__ == "__main__":
    command, *args = sys.argv[1:]
    if command == "make":
        make(*args)
    elif command == "seed":
        seed(*args)
    else:
        fetch(args[0], args[1], args[2:])

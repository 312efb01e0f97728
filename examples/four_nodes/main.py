"""Four nodes, four processes, one command: each run of this takes the first free port of 5050 to 5053 and joins.

The original's example, in Python. The bus travels by HTTP, `POST /raft/action/ACTION`; who is there is told by
`ackNode`; and the state of each node is a file of JSON. `python main.py [FOLDER [FIRST_PORT]]`
"""

import asyncio
import json
import os
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from aiohttp import ClientError, ClientSession, ClientTimeout, web

from raftq_k8s import RaftNode, Raftq, RaftqOptions
from raftq_k8s.node.errors import NotLeader, UnknownEvent

FOLDER = Path(sys.argv[1] if len(sys.argv) > 1 else Path(tempfile.gettempdir()) / "raftq")
FIRST_PORT = int(sys.argv[2]) if len(sys.argv) > 2 else 5050
CLUSTER = [FIRST_PORT, FIRST_PORT + 1, FIRST_PORT + 2, FIRST_PORT + 3]
WIRES = {  # what leaves one node as the first is dispatched to the other as the second
    "voteRequest": "voteRequestReceived",
    "voteResponse": "voteResponseReceived",
    "syncData": "dataReceived",
    "dataResponse": "dataResponseReceived",
}


class JsonFiles:
    """The persist agent: one file a node, replaced as a whole."""

    async def persist(self, node: RaftNode, data: Any) -> None:
        await asyncio.to_thread(self._replace, FOLDER / f"{node.id}.json", json.dumps(data))

    async def restore(self, node: RaftNode) -> Any:
        """A file that is torn is no fresh start: what cannot be read is raised, and this node does not start."""
        file = FOLDER / f"{node.id}.json"
        return json.loads(file.read_text()) if file.exists() else None

    def _replace(self, file: Path, text: str) -> None:
        fresh = file.with_suffix(".new")
        with fresh.open("w") as opened:
            opened.write(text)
            opened.flush()
            os.fsync(opened.fileno())  # its bytes are on the disk before its name is
        fresh.replace(file)
        folder = os.open(FOLDER, os.O_RDONLY)
        try:
            os.fsync(folder)  # and its name, before anything that rests on it leaves
        finally:
            os.close(folder)


def say(sentence: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {sentence}", flush=True)


def node(port: int, now_ms: int) -> dict[str, Any]:
    return {"id": str(port), "time": now_ms}


class Program:
    """`port` is this process's own, and its node's name."""

    def __init__(self, port: int, session: ClientSession) -> None:
        self.port = port
        self.session = session
        # Exactly one node founds the cluster; on the others, and where there is a state already, nothing is founded.
        self.raft = Raftq(RaftqOptions(persist_agent=JsonFiles(), bootstrap=port == FIRST_PORT))
        self.raft.subscribe("log", lambda message: say(message["message"]))
        for sent, received in WIRES.items():

            async def carry(message: dict[str, Any], received: str = received) -> None:
                await self.post(message["destination"]["id"], received, message, message["timeout"])

            self.raft.subscribe(sent, carry)

    async def post(self, port: int | str, action: str, message: Any, timeout_ms: float) -> bool:
        """Whether it arrived; nobody has to be there."""
        url = f"http://127.0.0.1:{port}/raft/action/{action}"
        try:
            async with self.session.post(url, json=message, timeout=ClientTimeout(timeout_ms / 1000)) as answer:
                return answer.ok
        except (ClientError, TimeoutError):
            return False

    async def act(self, request: web.Request) -> web.Response:
        """The pipe that the data passes through."""
        try:
            await self.raft.dispatch(request.match_info["action"], await request.json())
        except NotLeader as error:
            return web.Response(status=409, text=f"{error}\n")
        except UnknownEvent as error:
            return web.Response(status=404, text=f"{error}\n")
        except json.JSONDecodeError as error:
            return web.Response(status=400, text=f"the body is no JSON: {error}\n")
        return web.Response()

    async def show(self, request: web.Request) -> web.Response:
        status = self.raft.status()
        shown = {"id": status.member, "leader": status.leader, "voters": status.voters, "data": self.raft.get_data()}
        return web.json_response(shown)

    async def start(self) -> None:
        others = [port for port in CLUSTER if port != self.port]
        now_ms = round(time.time() * 1000)
        arrived = await asyncio.gather(*[self.post(port, "ackNode", node(self.port, now_ms), 500) for port in others])
        for port, is_there in zip(others, arrived, strict=True):
            if is_there:
                await self.raft.dispatch("ackNode", node(port, now_ms))
        await self.raft.dispatch("serviceStarted", {"node": node(self.port, now_ms)})

    async def leave(self, reason: str) -> None:
        """Away, not gone for good: the others stop dialling, a leader hands over, and the members stay as they are."""
        away = {"id": str(self.port), "time": 0}
        await self.raft.dispatch("ackNode", away)
        await asyncio.gather(*[self.post(other.id, "ackNode", away, 200) for other in self.raft.get_followers()])
        await self.raft.dispatch("serviceCrashed", {"reason": reason})
        await self.raft.destroy()


def listen() -> socket.socket:
    """On the first free port of the four."""
    for port in CLUSTER:
        listening = socket.socket()
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind(("127.0.0.1", port))
            listening.listen()
        except OSError:
            listening.close()
        else:
            return listening
    sys.exit(f"all of {CLUSTER} are taken")


async def main(listening: socket.socket) -> int:
    asked: asyncio.Queue[str] = asyncio.Queue()
    for each in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(each, asked.put_nowait, each.name)
    async with ClientSession() as session:
        program = Program(listening.getsockname()[1], session)
        program.raft.failure.add_done_callback(lambda failure: asked.put_nowait(str(failure.exception())))
        app = web.Application(client_max_size=1 << 20)
        app.add_routes([web.post("/raft/action/{action}", program.act), web.get("/", program.show)])
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await runner.setup()
        await web.SockSite(runner, listening).start()
        say(f"listening on {program.port}")
        reason = "it could not start"
        try:
            await program.start()
            reason = await asked.get()
        finally:
            await program.leave(reason)
            await runner.cleanup()
    say(f"left: {reason}")
    return 1


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    sys.exit(asyncio.run(main(listen())))

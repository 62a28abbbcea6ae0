import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { fromFileUrl } from "@std/path";
import { Peer, PeerError, type PeerRequest } from "./peer.ts";

const PROGRAM = fromFileUrl(new URL("fake_peer.ts", import.meta.url));

const start = () => Peer.start(Deno.execPath(), ["run", "-q", "--no-check", "--allow-run", PROGRAM]);

function asked(network: string, pod = "p1"): PeerRequest {
  const dirs = { confDir: "/conf", pluginDirs: ["/bin"], cacheDir: "/cache" };
  return { op: "up", pod, netns: `/run/netns/${pod}`, makesNetns: true, ifName: "eth0", network, ...dirs };
}

Deno.test("a peer answers requests in any order, while others wait", async () => {
  await using peer = start();
  const order: string[] = [];
  await Promise.all(["hold", "done"].map(async (network) => {
    await peer.request(asked(network));
    order.push(network);
  }));
  assertEquals(order, ["done", "hold"]);
});

Deno.test("many requests are in flight at the same time, and each gets its own answer", async () => {
  await using peer = start();
  const networks = Array.from({ length: 32 }, (_, index) => index % 3 === 0 ? "refuse" : "done");
  const ends = await Promise.allSettled(networks.map((network, n) => peer.request(asked(network, `p${n}`))));
  const reasons = ends.map((end) => end.status === "rejected" ? end.reason.message : "done");
  assertEquals(
    reasons,
    networks.map((network, n) =>
      network === "done" ? "done" : `Cannot attach the pod "p${n}" with the peer: no room for p${n}`
    ),
  );
});

Deno.test("a request that the peer refuses fails with its reason, and the next one succeeds", async () => {
  await using peer = start();
  await assertRejects(() => peer.request(asked("refuse")), PeerError, "no room for p1");
  await assertRejects(() => peer.request(asked("silent-refusal")), PeerError, "it gives no reason");
  await peer.request(asked("done"));
});

const FAULTS = {
  garbage: `"panic: <nil>" is not an answer`,
  half: `"{\\"id\\":2,\\"ok\\":\\"yes\\"}" is not an answer`,
  stranger: `"{\\"id\\":1002,\\"ok\\":true}" answers no request that waits`,
  die: "it ended with exit code 3, without an answer to 2 requests",
  kill: "it ended by SIGKILL, without an answer to 2 requests",
};

for (const [network, why] of Object.entries(FAULTS)) {
  Deno.test(`a peer with the fault "${network}" fails what waits and what comes later, with that reason`, async () => {
    await using peer = start();
    const waiting = assertRejects(() => peer.request(asked("hold")), PeerError);
    const faulty = assertRejects(() => peer.request(asked(network)), PeerError);
    const errors = [
      await waiting,
      await faulty,
      await assertRejects(() => peer.request(asked("done")), PeerError),
    ];
    for (const { message } of errors) {
      assertEquals(message, `Cannot use the peer "${Deno.execPath()}": ${why}`);
    }
  });
}

Deno.test("a peer that is not there cannot be started", () => {
  const error = assertThrows(() => Peer.start("/nowhere/peer"), PeerError);
  assertEquals(error.message.split(":")[0], `Cannot start the peer "/nowhere/peer"`);
});

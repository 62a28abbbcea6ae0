// How fast data passes the limits of the built-in bandwidth, in both directions and families.
import { assert, assertEquals } from "@std/assert";
import { runInside } from "../../lib/host/netns.ts";
import { assertDone, callBuiltin } from "./builtin_call.ts";
import { inWorld, sh } from "./builtin_world.ts";
import { need } from "./need.ts";

const PORT = 8080;
/** In bits a second. */
const INGRESS = 16_000_000;
const EGRESS = 24_000_000;
/** In bits. */
const BURST = 4_000_000;
/** The kernel counts whole frames, of which the headers take so much, by the family. */
const FRAMES = { 4: 1514 / (1514 - 66), 6: 1514 / (1514 - 86) } as const;

/** Receives all that one client sends, and prints how many bits a second that were after the first burst. */
const RECEIVER = `
const listener = Deno.listen({ hostname: "::", port: ${PORT} });
console.log("up");
const connection = await listener.accept();
const buffer = new Uint8Array(65536);
let bytes = 0, counted = 0, start = 0, end = 0;
for (;;) {
  const read = await connection.read(buffer);
  if (read === null) break;
  bytes += read;
  end = performance.now();
  if (bytes <= ${BURST / 8} * 2) { start = end; counted = bytes; }
}
console.log(Math.round((bytes - counted) * 8 / (end - start) * 1000));
connection.close();
listener.close();`;

const SENDER = `
const connection = await Deno.connect({ hostname: Deno.args[0], port: ${PORT} });
let left = Number(Deno.args[1]);
while (left > 0) left -= await connection.write(new Uint8Array(Math.min(left, 65536)));
connection.close();`;

/** Sends data from one namespace to another, and returns the rate at which it came, in bits a second. */
async function rate(from: string, to: string, address: string, bytes: number): Promise<number> {
  const deno = [Deno.execPath(), "eval", "--no-config"];
  const args = [`--net=${to}`, ...deno, RECEIVER];
  const receiver = new Deno.Command("nsenter", { args, stdin: "null", stdout: "piped", stderr: "null" })
    .spawn();
  const reader = receiver.stdout.pipeThrough(new TextDecoderStream()).getReader();
  assertEquals((await reader.read()).value, "up\n");
  const [program = "", ...rest] = deno;
  const { code, stderr } = await runInside(from, {
    program,
    args: [...rest, SENDER, address, String(bytes)],
  });
  assertEquals(code, 0, stderr);
  const { value = "" } = await reader.read();
  await reader.cancel();
  await receiver.status;
  return Number(value);
}

Deno.test({
  name: "U49 a container sends and receives at the rates of its limits, within ten percent, in both families",
  ...need("root", "ip"),
  fn: inWorld(async (world) => {
    const [host, pod] = [await world.netns("host"), await world.netns("pod")];
    await sh(
      `ip link add veth0 type veth peer name eth0 netns ${pod.replace(/.*\//, "")} && ip link set veth0 up &&
      ip addr add 10.1.0.1/24 dev veth0 && ip addr add fd00:1::1/64 dev veth0 nodad`,
      host,
    );
    await sh(
      "ip link set eth0 up && ip addr add 10.1.0.2/24 dev eth0 && ip addr add fd00:1::2/64 dev eth0 nodad",
      pod,
    );
    const config = {
      ...{ cniVersion: "1.0.0", name: "net", type: "bandwidth" },
      ...{ ingressRate: INGRESS, ingressBurst: BURST, egressRate: EGRESS, egressBurst: BURST },
      prevResult: {
        cniVersion: "1.0.0",
        interfaces: [{ name: "veth0" }, { name: "eth0", sandbox: pod }],
        ips: [],
      },
    };
    const call = { containerId: "c", netns: pod, ifName: "eth0", config };
    const run = (request: Parameters<typeof runInside>[1]) => runInside(host, request);
    assertDone(await callBuiltin("bandwidth", { ...call, verb: "ADD" }, run));
    const ways = [
      [host, pod, ["10.1.0.2", "fd00:1::2"], INGRESS],
      [pod, host, ["10.1.0.1", "fd00:1::1"], EGRESS],
    ] as const;
    for (const [from, to, addresses, limit] of ways) {
      for (const address of addresses) {
        const frames = FRAMES[address.includes(":") ? 6 : 4];
        const measured = frames * await rate(from, to, address, limit / 8 * 3);
        assert(measured <= limit * 1.1 && measured >= limit * 0.9, `${address}: ${measured} of ${limit}`);
      }
    }
    assertDone(await callBuiltin("bandwidth", { ...call, verb: "DEL" }, run));
    const free = await rate(pod, host, "10.1.0.1", EGRESS / 8 * 2);
    assert(free > 2 * EGRESS, `${free} without a limit`);
  }),
});

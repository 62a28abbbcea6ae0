// What only the implementation by netlink can do wrong.
import { assert, assertEquals, assertRejects } from "@std/assert";
import { HostError } from "../../lib/host/command.ts";
import { nsProblem } from "../../lib/host/netns.ts";
import { isPermissionDenied } from "../../lib/host/permissions.ts";
import { KernelError } from "../../lib/kernel/kernel.ts";
import { type Libc, openLibc } from "../../lib/host/libc.ts";
import { NetlinkKernel } from "../../lib/kernel/netlink_kernel.ts";
import { answering } from "./fake_libc.ts";
import { KERNELS } from "./kernels.ts";
import { acknowledgement, link } from "./netlink_answers.ts";
import { ipLines, sh, worldTest } from "./world.ts";

/** A kernel that has every interface, and refuses no change. */
const willing = (calls: Partial<Libc> = {}) =>
  answering((n, request) => [{
    bytes: new DataView(request.buffer, request.byteOffset).getUint16(4, true) === 18
      ? link(n, "eth0")
      : acknowledgement(n, 0),
  }], calls);

const remove = { kind: "remove-link", name: "eth0" } as const;

Deno.test("a signal that fires while the kernel works is heard when it has ended", async () => {
  const stop = new AbortController();
  const reason = new Error("enough");
  const events: string[] = [];
  const libc = willing();
  const kernel = new NetlinkKernel({
    ...libc,
    sendAway: async (...args) => {
      stop.abort(reason);
      events.push("begins");
      const sent = await libc.sendAway(...args);
      events.push("ends");
      return sent;
    },
  });
  const call = kernel.apply([remove, remove], { signal: stop.signal });
  assertEquals({ error: await assertRejects(() => call), events }, {
    error: reason,
    events: ["begins", "ends"],
  });
});

Deno.test("one socket of the own namespace is used again, unless an answer is incomplete", async () => {
  let [opened, closed] = [0, 0];
  let isSilent = false;
  const libc = willing();
  const kernel = new NetlinkKernel({
    ...libc,
    socket: () => 10 + opened++,
    close: () => void closed++,
    recvfrom: (...args) => isSilent ? -1 : libc.recvfrom(...args),
  });
  for (let n = 0; n < 3; n++) await kernel.apply([remove]);
  assertEquals({ opened, closed }, { opened: 1, closed: 0 });
  await Promise.all(Array.from({ length: 8 }, () => kernel.apply([remove])));
  assertEquals({ opened, left: opened - closed }, { opened: 8, left: 1 });
  isSilent = true;
  await assertRejects(() => kernel.apply([remove]), KernelError);
  assertEquals({ opened, left: opened - closed }, { opened: 8, left: 0 });
});

Deno.test("a socket of another namespace is closed after the call, and so is the namespace", async () => {
  const open = new Set<number>();
  let next = 10;
  const add = () => {
    open.add(++next);
    return next;
  };
  const libc = willing({ open: add, socket: add, close: (fd) => void open.delete(fd) });
  const kernel = new NetlinkKernel(libc);
  await kernel.apply([remove], { netns: "/run/netns/a" });
  // The own namespace stays open.
  assertEquals(open.size, 1);
  const other = new NetlinkKernel({ ...libc, namespaceKind: () => 0 });
  await assertRejects(() => other.apply([remove], { netns: "/run/netns/a" }), KernelError);
  assertEquals(open.size, 1);
});

Deno.test("a refusal because rights are missing is found to be one", async () => {
  const refusing = answering((n) => [{ bytes: acknowledgement(n, -1) }]);
  const error = await assertRejects(() => new NetlinkKernel(refusing).apply([remove]), KernelError);
  assertEquals({ why: error.why, isDenied: isPermissionDenied(error) }, {
    why: "Operation not permitted",
    isDenied: true,
  });
});

/** The library with calls that can be replaced. */
function wrapped(real: Libc): Libc {
  return {
    errno: () => real.errno(),
    open: (...args) => real.open(...args),
    statx: (...args) => real.statx(...args),
    fstatx: (...args) => real.fstatx(...args),
    close: (...args) => real.close(...args),
    isInherited: (...args) => real.isInherited(...args),
    read: (...args) => real.read(...args),
    write: (...args) => real.write(...args),
    namespaceKind: (...args) => real.namespaceKind(...args),
    setns: (...args) => real.setns(...args),
    unshare: (...args) => real.unshare(...args),
    mount: (...args) => real.mount(...args),
    umount: (...args) => real.umount(...args),
    socket: (...args) => real.socket(...args),
    setsockopt: (...args) => real.setsockopt(...args),
    send: (...args) => real.send(...args),
    recvfrom: (...args) => real.recvfrom(...args),
    sendAway: (...args) => real.sendAway(...args),
    recvfromAway: (...args) => real.recvfromAway(...args),
    statfsAway: (...args) => real.statfsAway(...args),
    umountAway: (...args) => real.umountAway(...args),
    away: 0,
  };
}

for (const tested of KERNELS.filter(({ name }) => name === "NetlinkKernel")) {
  worldTest(tested, "an alias may have characters that ip does not accept", async ({ kernel, host }) => {
    const alias = 'a "b" \\ ü';
    const [, lo] = await kernel.apply([
      { kind: "set-link", name: "lo", alias },
      { kind: "show-link", name: "lo" },
    ], { netns: host });
    assertEquals(lo.alias, alias);
  });

  worldTest(tested, "after a step that fails nothing is left of a new namespace", async ({ dir }) => {
    const path = `${dir}/a`;
    const real = openLibc();
    const own = await sh("readlink /proc/self/ns/net");
    const failures: readonly Partial<Libc>[] = [
      { unshare: () => -1 },
      { mount: (source, ...more) => source?.startsWith("/proc/") ? -1 : real.mount(source, ...more) },
      { socket: () => -1 },
      { send: () => -1, sendAway: () => Promise.resolve(-1) },
    ];
    for (const failure of failures) {
      await assertRejects(
        () => new NetlinkKernel({ ...wrapped(real), ...failure }).createNetns(path),
        HostError,
      );
      assertEquals(await nsProblem(path), "does not exist");
      assertEquals(await sh("readlink /proc/self/ns/net"), own);
    }
    const stop = new AbortController();
    const reason = new Error("enough");
    const interrupted: Libc = {
      ...wrapped(real),
      unshare: (kinds) => {
        stop.abort(reason);
        return real.unshare(kinds);
      },
    };
    const call = new NetlinkKernel(interrupted).createNetns(path, { signal: stop.signal });
    assertEquals(await assertRejects(() => call), reason);
    assertEquals(await nsProblem(path), "does not exist");
    const mounted = await sh("cat /proc/self/mountinfo");
    assert(!mounted.includes(` ${path} `));
  });

  worldTest(
    tested,
    "ten thousand interfaces are all shown, and the loop turns meanwhile",
    async ({ kernel, host }) => {
      const count = 10_000;
      await ipLines(
        host,
        Array.from({ length: count / 2 }, (_, n) => `link add a${n} type veth peer name b${n}`),
      );
      let turns = 0;
      const timer = setInterval(() => turns++, 0);
      const [links] = await kernel.apply([{ kind: "show-links" }], { netns: host });
      clearInterval(timer);
      assertEquals(new Set(links.map(({ name }) => name)).size, count + 1);
      assert(turns > 10, `the loop turned ${turns} times`);
    },
  );
}

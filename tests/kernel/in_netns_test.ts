import { assertEquals, assertThrows } from "@std/assert";
import { runCommand } from "../../lib/host/command.ts";
import { inNetns } from "../../lib/kernel/in_netns.ts";
import { fakeLibc } from "./fake_libc.ts";

const CHILD = new URL("./barred_process.ts", import.meta.url);

/** A library that writes down where it is sent; `home` is the descriptor of the own namespace. */
function recorded(home: number) {
  const calls: string[] = [];
  const libc = fakeLibc({
    open: (path) => {
      calls.push(`open ${path}`);
      return home;
    },
    setns: (fd) => {
      calls.push(`setns ${fd}`);
      return 0;
    },
    errno: () => 1,
  });
  return { libc, calls };
}

Deno.test("the way into a namespace leads back, whether the work there succeeds or fails", () => {
  const { libc, calls } = recorded(9);
  const enter = () => libc.setns(5, 0);
  const refused = () => new Error("refused");
  assertEquals(inNetns(libc, enter, () => calls.push("work"), refused), 3);
  assertThrows(() =>
    inNetns(libc, enter, () => {
      throw new RangeError("no");
    }, refused), RangeError);
  const visit = ["setns 5", "work", "setns 9", "setns 5", "setns 9"];
  assertEquals(calls, ["open /proc/thread-self/ns/net", ...visit]);
});

Deno.test("what cannot be entered is not left, and nothing is done", () => {
  const { libc, calls } = recorded(9);
  const refused = (errno: number) => new RangeError(`number ${errno}`);
  assertThrows(() => inNetns(libc, () => -1, () => calls.push("work"), refused), RangeError, "number 1");
  assertEquals(calls, ["open /proc/thread-self/ns/net"]);
});

Deno.test("a process that cannot return to its own namespace ends at once, and says why", async () => {
  const { code, stdout, stderr } = await runCommand({
    program: Deno.execPath(),
    args: ["run", "-q", "--no-prompt", "--no-config", "--no-check", CHILD.pathname],
    env: { PATH: "/usr/bin:/bin", HOME: "/", NO_COLOR: "1" },
  });
  assertEquals({ code, stdout, stderr }, {
    code: 70,
    stdout: "inside\n",
    stderr: "Cannot return to the own network namespace: Operation not permitted; the process ends\n",
  });
});

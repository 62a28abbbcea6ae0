import { assertEquals, assertRejects } from "@std/assert";
import type { Libc } from "../../lib/host/libc.ts";
import { readLink } from "../../lib/kernel/link_answer.ts";
import { listLinks, removeLink, setLink } from "../../lib/kernel/link_request.ts";
import { NetlinkFormatError } from "../../lib/kernel/netlink_reader.ts";
import { NetlinkError } from "../../lib/kernel/netlink_reply.ts";
import { NetlinkSocket } from "../../lib/kernel/netlink_socket.ts";
import { answering, type Arrival } from "./fake_libc.ts";
import { acknowledgement, end, joined, link } from "./netlink_answers.ts";

const CHANGE = setLink({ up: true }, 1);
const INTERRUPTED = 0x10;

/** The names in the list that a socket gives, and how often it was begun. */
async function listed(libc: Libc): Promise<{ names: string[]; begun: number }> {
  using socket = new NetlinkSocket(libc);
  let names: string[] = [];
  let begun = 0;
  await socket.list(listLinks({}), () => {
    begun++;
    names = [];
    return (message, reader) => names.push(readLink(message, reader)?.name ?? "");
  });
  return { names, begun };
}

const change = async (libc: Libc, request = CHANGE) => {
  using socket = new NetlinkSocket(libc);
  await socket.change(request);
};

const refusal = async (arrivals: (sequence: number) => readonly Arrival[]) => {
  const { errno, why } = await assertRejects(() => change(answering(arrivals)), NetlinkError);
  return { errno, why };
};

Deno.test("a list is read to its end, in as many pieces as it comes", async () => {
  const libc = answering((n) => [
    { bytes: joined(link(n, "a"), link(n, "b")) },
    { bytes: joined(link(n, "c")) },
    { bytes: end(n) },
  ]);
  assertEquals(await listed(libc), { names: ["a", "b", "c"], begun: 1 });
});

Deno.test("a list that changed while it was made is read again", async () => {
  let requests = 0;
  const libc = answering((n) =>
    ++requests < 3
      ? [{ bytes: joined(link(n, "gone", INTERRUPTED), end(n)) }]
      : [{ bytes: joined(link(n, "a"), end(n)) }]
  );
  assertEquals(await listed(libc), { names: ["a"], begun: 3 });
});

Deno.test("a list that changes each time is given up", async () => {
  const libc = answering((n) => [{ bytes: end(n, INTERRUPTED) }]);
  assertEquals((await assertRejects(() => listed(libc), NetlinkError)).errno, "EAGAIN");
});

Deno.test("the reason in the end of a list is thrown", async () => {
  const libc = answering((n) => [{ bytes: joined(link(n, "a"), end(n, 0, -19)) }]);
  assertEquals((await assertRejects(() => listed(libc), NetlinkError)).why, "No such device");
});

Deno.test("a piece that is longer than its memory is an error", async () => {
  const libc = answering((n) => [{ bytes: joined(link(n, "a"), end(n)), length: 70_000 }]);
  await assertRejects(() => listed(libc), NetlinkFormatError);
});

Deno.test("what others than the kernel send is not read, nor what answers another request", async () => {
  const libc = answering((n) => [
    { bytes: joined(link(n, "forged"), end(n)), sender: 4711 },
    { bytes: joined(link(n - 1, "old"), end(n - 1)) },
    { bytes: joined(link(n, "a"), end(n)) },
  ]);
  assertEquals(await listed(libc), { names: ["a"], begun: 1 });
});

Deno.test("a flood of what others send ends the wait for an answer", async () => {
  const libc = answering((n) => [{ bytes: end(n), sender: 4711 }]);
  const flood: Libc = {
    ...libc,
    recvfrom: (...args) => {
      libc.send(4, new Uint8Array(16), 0);
      return libc.recvfrom(...args);
    },
    recvfromAway: (...args) => Promise.resolve(flood.recvfrom(...args)),
  };
  await assertRejects(() => listed(flood), NetlinkFormatError);
});

Deno.test("a refusal has the words of its number, and the kernel's sentence if there is one", async () => {
  assertEquals(await refusal((n) => [{ bytes: acknowledgement(n, -17) }]), {
    errno: "EEXIST",
    why: "File exists",
  });
  for (const capped of [false, true]) {
    const bytes = (n: number) => acknowledgement(n, -22, { text: "Invalid prefix.", capped });
    assertEquals(await refusal((n) => [{ bytes: bytes(n) }]), {
      errno: "EINVAL",
      why: "Invalid prefix (Invalid argument)",
    });
  }
  assertEquals((await refusal((n) => [{ bytes: acknowledgement(n, -4000) }])).why, "error number 4000");
});

Deno.test("an acknowledgement with a sentence is not a refusal", async () => {
  await change(answering((n) => [{ bytes: acknowledgement(n, 0, { text: "a warning" }) }]));
});

Deno.test("an answer that does not come is an error at once", async () => {
  assertEquals((await refusal(() => [])).errno, "EAGAIN");
});

Deno.test("what may wait in the kernel is sent from another thread, and all else while something is there", async () => {
  const sent: string[] = [];
  const arrivals = (n: number) => [{ bytes: acknowledgement(n, 0) }];
  const libc = answering(arrivals);
  const spied = (away: number): Libc => ({
    ...libc,
    away,
    send: (...args) => {
      sent.push("here");
      return libc.send(...args);
    },
    sendAway: (...args) => {
      sent.push("away");
      return libc.sendAway(...args);
    },
  });
  await change(spied(0));
  await change(spied(0), removeLink(1));
  await change(spied(1));
  assertEquals(sent, ["here", "away", "away"]);
});

Deno.test("while other processes keep the kernel busy, this thread does not wait for it", async () => {
  const sent: string[] = [];
  const libc = answering((n) => [{ bytes: acknowledgement(n, 0) }]);
  const spied: Libc = {
    ...libc,
    send: (...args) => {
      sent.push("here");
      for (const start = performance.now(); performance.now() - start < 6;);
      return libc.send(...args);
    },
    sendAway: (...args) => {
      sent.push("away");
      return libc.sendAway(...args);
    },
  };
  await change(spied);
  await change(spied);
  assertEquals(sent, ["here", "away"]);
});

Deno.test("the reason why another thread could not send is found here", async () => {
  const libc = answering(() => [], { sendAway: () => Promise.resolve(-1), send: () => -1, errno: () => 105 });
  const error = await assertRejects(() => change(libc, removeLink(1)), NetlinkError);
  assertEquals({ errno: error.errno, why: error.why }, {
    errno: "ENOBUFS",
    why: "No buffer space available",
  });
});

Deno.test("after so much of a list the loop turns before more of it", async () => {
  const received: string[] = [];
  const many = (n: number) => joined(...Array.from({ length: 300 }, (_, at) => link(n, `a${at}`)));
  const libc = answering((n) => [{ bytes: many(n) }, { bytes: many(n) }, { bytes: end(n) }]);
  const { names } = await listed({
    ...libc,
    recvfrom: (...args) => {
      received.push("here");
      return libc.recvfrom(...args);
    },
    recvfromAway: (...args) => {
      received.push("away");
      return libc.recvfromAway(...args);
    },
  });
  assertEquals({ count: names.length, received }, { count: 600, received: ["here", "away", "away"] });
});

Deno.test("a socket is closed, and one that cannot be opened says why", async () => {
  const closed: number[] = [];
  await change(answering((n) => [{ bytes: acknowledgement(n, 0) }], { close: (fd) => closed.push(fd) }));
  assertEquals(closed, [4]);
  const full = answering(() => [], { socket: () => -1, errno: () => 24 });
  assertEquals((await assertRejects(() => change(full), NetlinkError)).errno, "EMFILE");
});

import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { HostError } from "../../lib/host/command.ts";
import { requestOverUnix } from "../../lib/host/http_over_unix.ts";

const POST = { method: "POST", target: "/v1/x?y=z", body: '{"name":"é"}' };

async function atSocket(fn: (path: string) => Promise<void>): Promise<void> {
  const dir = await Deno.makeTempDir({ prefix: "pwt-" });
  try {
    await fn(`${dir}/s`);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

/** Answers each connection with these bytes after its first request. */
async function answering(path: string, answer: string, fn: () => Promise<unknown>): Promise<void> {
  const listener = Deno.listen({ transport: "unix", path });
  const serving = (async () => {
    for await (const connection of listener) {
      await connection.read(new Uint8Array(64 * 1024));
      await connection.write(new TextEncoder().encode(answer));
      connection.close();
    }
  })();
  try {
    await fn();
  } finally {
    listener.close();
    await serving;
  }
}

Deno.test("requestOverUnix() sends a request to a server at a Unix socket, and returns its response", () =>
  atSocket(async (path) => {
    const long = "ü".repeat(300_000);
    await using _server = Deno.serve({ path, onListen() {} }, async (request) => {
      const { method, url } = request;
      const target = url.slice(url.indexOf("/v1"));
      return Response.json({ method, target, body: await request.text(), long }, { status: 201 });
    });
    const { status, text } = await requestOverUnix(path, POST);
    assertEquals({ status, body: JSON.parse(text) }, {
      status: 201,
      body: {
        method: "POST",
        target: "/v1/x?y=z",
        body: POST.body,
        long,
      },
    });
  }));

Deno.test("requestOverUnix() sends its request in one write, and does not wait for the end of a response whose length it knows", () =>
  atSocket(async (path) => {
    using listener = Deno.listen({ transport: "unix", path });
    const answered = requestOverUnix(path, POST);
    using connection = await listener.accept();
    const buffer = new Uint8Array(64 * 1024);
    const size = await connection.read(buffer);
    assertStringIncludes(new TextDecoder().decode(buffer.subarray(0, size ?? 0)), `\r\n\r\n${POST.body}`);
    for (const piece of ["HTTP/1.0 200 OK\r\ncontent-", "length: 4\r\n\r\n", "é", "ü"]) {
      await connection.write(new TextEncoder().encode(piece));
    }
    // The connection is still open.
    assertEquals(await answered, { status: 200, text: "éü" });
  }));

Deno.test("requestOverUnix() reports that there is no server: no file, a file that is not a socket, a socket that was left", () =>
  atSocket(async (path) => {
    const noAnswer = async () => {
      const error = await assertRejects(() => requestOverUnix(path, POST), HostError, path);
      assertEquals(error.reason, "no-answer");
    };
    await noAnswer();
    await Deno.writeTextFile(path, "");
    await noAnswer();
    await Deno.remove(path);
    const listener = Deno.listen({ transport: "unix", path });
    listener.close();
    if (await Deno.lstat(path).then(() => true, () => false)) await noAnswer();
    await assertRejects(() => requestOverUnix("/tmp", POST), HostError);
  }));

Deno.test("requestOverUnix() never takes a part of a response for the whole", () =>
  atSocket(async (path) => {
    const answers = [
      ["", "cut-short"],
      ["HTTP/1.1 200 OK\r\ncontent-le", "cut-short"],
      ["HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{}", "cut-short"],
      ["SSH-2.0-OpenSSH_9.2\r\n", "bad-output"],
    ] as const;
    for (const [answer, reason] of answers) {
      await answering(path, answer, async () => {
        const error = await assertRejects(() => requestOverUnix(path, POST), HostError);
        assertEquals({ answer, reason: error.reason }, { answer, reason });
      });
      await Deno.remove(path).catch(() => {});
    }
    await answering(path, "HTTP/1.0 204 No Content\r\n\r\n", async () => {
      assertEquals(await requestOverUnix(path, POST), { status: 204, text: "" });
    });
  }));

Deno.test("requestOverUnix() closes the connection when its signal fires, and the server notices", () =>
  atSocket(async (path) => {
    const asked = Promise.withResolvers<void>();
    const left = Promise.withResolvers<void>();
    await using _server = Deno.serve({ path, onListen() {} }, async (request) => {
      request.signal.addEventListener("abort", () => left.resolve());
      asked.resolve();
      await left.promise;
      return new Response();
    });
    const controller = new AbortController();
    const asking = requestOverUnix(path, { ...POST, signal: controller.signal });
    await asked.promise;
    controller.abort(new Error("enough"));
    await assertRejects(() => asking, Error, "enough");
    await left.promise;
    const error = await assertRejects(
      () => requestOverUnix(path, { ...POST, signal: controller.signal }),
      Error,
    );
    assertStringIncludes(error.message, "enough");
  }));

import { assertEquals, assertStringIncludes } from "@std/assert";
import { CniError } from "../../lib/cni/error.ts";
import { SANDBOX } from "../daemon/fake_context.ts";
import { podwire } from "./fake_io.ts";

/** Serves at a new socket while `fn` runs. */
async function serving(
  answer: (request: Request) => Response | Promise<Response>,
  fn: (socket: string) => Promise<void>,
): Promise<void> {
  const dir = await Deno.makeTempDir({ prefix: "pwt-" });
  const socket = `${dir}/s`;
  const server = Deno.serve({ path: socket, onListen() {}, onError: () => new Response() }, answer);
  try {
    await fn(socket);
  } finally {
    await server.shutdown();
    await Deno.remove(dir, { recursive: true });
  }
}

const run = (...args: string[]) => podwire(["run", ...args]);

Deno.test("run --socket prints the same as run", async () => {
  const asked: unknown[] = [];
  const answer = async (request: Request) => {
    asked.push([request.method, request.url.slice(-"/v1/sandboxes".length), await request.json()]);
    return Response.json(SANDBOX, { status: 201 });
  };
  await serving(answer, async (socket) => {
    const json = await run("web", "--label", "a=b", "--json", "--socket", socket);
    assertEquals([json.code, json.stderr, JSON.parse(json.stdout)], [
      0,
      "",
      JSON.parse(JSON.stringify(SANDBOX)),
    ]);
    assertEquals(json.stdout, `${JSON.stringify(SANDBOX, undefined, 2)}\n`);
    const text = await run(`--socket=${socket}`, "--timeout=1m");
    assertEquals({ code: text.code, stderr: text.stderr }, { code: 0, stderr: "" });
    assertStringIncludes(text.stdout, SANDBOX.id);
  });
  assertEquals(asked, [
    ["POST", "/v1/sandboxes", { name: "web", labels: { a: "b" }, replace: false }],
    ["POST", "/v1/sandboxes", { replace: false }],
  ]);
});

Deno.test("an error of the daemon has the same object, message and exit code as one of run", async () => {
  const errors: readonly (readonly [CniError, number, number])[] = [
    [new CniError("conflict", "the name is taken", { hint: "choose another" }), 409, 1],
    [new CniError("not-found", "no such network", { network: "x", verb: "ADD" }), 404, 3],
    [new CniError("not-ready", "podwire is shutting down", { hint: "try again" }), 503, 6],
    [
      new CniError("timeout", "late", {
        plugin: { type: "slow", index: 0, count: 2 },
        verb: "ADD",
        network: "n",
      }),
      504,
      5,
    ],
    [new CniError("permission", "no", { hint: "run as root" }), 500, 4],
  ];
  for (const [error, status, code] of errors) {
    await serving(() => Response.json({ error }, { status }), async (socket) => {
      const json = await run("--json", "--socket", socket);
      assertEquals({ code: json.code, stdout: json.stdout, stderr: json.stderr }, {
        code,
        stdout: "",
        stderr: `${JSON.stringify(error)}\n`,
      });
      const text = await run("--socket", socket);
      assertEquals(text.code, code);
      assertStringIncludes(text.stderr, error.message);
    });
  }
});

Deno.test("run --socket without a daemon makes no sandbox, and says what to start", async () => {
  const dir = await Deno.makeTempDir({ prefix: "pwt-" });
  try {
    const socket = `${dir}/s`;
    const { code, stdout, stderr } = await run("web", "--socket", socket, "--json");
    const error = JSON.parse(stderr);
    assertEquals({ code, stdout, kind: error.kind, msg: error.msg }, {
      code: 6,
      stdout: "",
      kind: "not-ready",
      msg: `no daemon serves at ${socket}`,
    });
    assertStringIncludes(error.hint, `podwire serve --socket ${socket}`);
    assertEquals(Array.from(Deno.readDirSync(dir)), []);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

Deno.test("another program that serves at the socket is not podwire", async () => {
  const answers = [
    () => new Response("hello"),
    () => Response.json([]),
    () => Response.json({ message: "page not found" }, { status: 404 }),
  ];
  for (const answer of answers) {
    await serving(answer, async (socket) => {
      const { code, stderr } = await run("--socket", socket, "--json");
      const error = JSON.parse(stderr);
      assertEquals({ code, kind: error.kind, msg: error.msg }, {
        code: 1,
        kind: "io",
        msg: `what serves at ${socket} is not podwire`,
      });
    });
  }
});

Deno.test("an option that belongs to the daemon is refused with --socket, by name", async () => {
  const options = [
    ["--conf-dir", "/x"],
    ["--plugin-dir", "/x"],
    ["--cache-dir", "/x"],
    ["--state-dir", "/x"],
    ["--netns-dir", "/x"],
    ["--default-network", "x"],
    ["--builtin", "off"],
    ["--plugin-env", "X"],
    ["--timeout", "ADD=5s"],
  ];
  for (const [name = "", value = ""] of options) {
    const { code, stderr } = await run("--socket=/none", name, value);
    assertEquals(code, 2, name);
    assertStringIncludes(stderr, name);
    assertStringIncludes(stderr, "--socket");
  }
  assertEquals((await run("--socket=/none", "--timeout=soon")).code, 2);
});

Deno.test("--timeout limits how long run waits for the daemon, and then cancels the request", async () => {
  const left = Promise.withResolvers<void>();
  const answer = async (request: Request) => {
    request.signal.addEventListener("abort", () => left.resolve());
    await left.promise;
    return new Response();
  };
  await serving(answer, async (socket) => {
    const { code, stderr } = await run("--socket", socket, "--timeout=50ms", "--json");
    assertEquals({ code, kind: JSON.parse(stderr).kind }, { code: 5, kind: "timeout" });
    await left.promise;
  });
});

// Kubernetes asks for a pod again, with another attempt, while the previous attempt is still on record.
import { assertEquals } from "@std/assert";
import { CniError } from "../../lib/cni/error.ts";
import { sandboxTest } from "./sandbox_world.ts";

const failing = async (act: () => Promise<unknown>): Promise<CniError> => {
  const error = await act().then(() => undefined, (error) => error);
  if (error instanceof CniError) return error;
  throw new Error(`it did not fail with a CniError: ${error}`);
};

sandboxTest("a second attempt works beside a dead one, and the name means the second", async (world) => {
  const a = await world.network("a");
  const { sandboxes } = world.podwire();
  const pod = { name: "web-0", namespace: "shop", uid: "u-1" };
  const first = await sandboxes.run({ ...pod, attempt: 0 });
  const find = { namespace: "shop" };
  assertEquals({ attempt: first.attempt, id: (await sandboxes.run(pod)).id }, { attempt: 0, id: first.id });
  await sandboxes.stop(first.id);
  const taken = await failing(() => sandboxes.run({ ...pod, attempt: 0 }));
  assertEquals(taken.kind, "conflict");
  const second = await sandboxes.run({ ...pod, attempt: 1 });
  assertEquals({ attempt: second.attempt, id: (await sandboxes.get("web-0", find)).id }, {
    attempt: 1,
    id: second.id,
  });
  assertEquals((await sandboxes.list({ name: "web-0" })).map(({ attempt, state }) => [attempt, state]), [
    [0, "stopped"],
    [1, "ready"],
  ]);
  await sandboxes.stop("web-0", find);
  assertEquals((await sandboxes.get("web-0", find)).id, second.id);
  const third = await sandboxes.run({ ...pod, attempt: 2 });
  await sandboxes.remove(first.id);
  await sandboxes.remove(third.id);
  assertEquals((await sandboxes.get("web-0", find)).id, second.id);
  await sandboxes.remove("web-0", find);
  assertEquals(await world.left(), []);
  const [call] = await a.calls();
  assertEquals(JSON.stringify(call).includes("K8S_POD_NAME=web-0;"), true);
});

sandboxTest(
  "pods of one name and different UIDs are distinguished, and one name alone is ambiguous",
  async (world) => {
    await world.network("a");
    const { sandboxes } = world.podwire();
    const [old, next] = [
      await sandboxes.run({ name: "db", uid: "u-1" }),
      await sandboxes.run({ name: "db", uid: "u-2" }),
    ];
    const error = await failing(() => sandboxes.get("db"));
    assertEquals(error.kind, "usage");
    assertEquals(error.context.details, `their IDs are ${old.id}, ${next.id}`);
    // Without a UID a name is for one sandbox.
    for (const request of [{ name: "db" }, { name: "db", uid: "u-3", uniqueName: true }]) {
      assertEquals((await failing(() => sandboxes.run(request))).kind, "conflict");
    }
    await sandboxes.stop(old.id);
    assertEquals((await sandboxes.get("db")).id, next.id);
  },
);

sandboxTest("the same attempt that is requested twice at once is one sandbox", async (world) => {
  await world.network("a", { ADD: { script: "sleep 0.3", stdout: '{"cniVersion": "1.1.0"}' } });
  const request = { name: "web", uid: "u", attempt: 3 };
  const made = await Promise.all([1, 2, 3].map(() => world.podwire().sandboxes.run(request)));
  assertEquals(new Set(made.map(({ id }) => id)).size, 1);
  assertEquals((await world.namespaces()).length, 1);
  assertEquals((await world.plugins.verbs()).filter((verb) => verb === "a ADD").length, 1);
});

sandboxTest("four that replace one another at once all end well, one after another", async (world) => {
  await world.network("a");
  const plugins = [{ type: "a", capabilities: { portMappings: true } }];
  const list = { cniVersion: "1.1.0", name: "a", plugins };
  await Deno.writeTextFile(`${world.confDir}/a.conflist`, JSON.stringify(list));
  const publish = [{ hostIP: "", hostPort: 8088, containerPort: 80, protocol: "tcp" as const }];
  await world.podwire().sandboxes.run({ name: "web", publish });
  const made = await Promise.all(
    [1, 2, 3, 4].map(() => world.podwire().sandboxes.run({ name: "web", publish, replace: true })),
  );
  assertEquals(new Set(made.map(({ id }) => id)).size, 4);
  const left = await world.podwire().sandboxes.list();
  assertEquals(left.map(({ name, state }) => [name, state]), [["web", "ready"]]);
  assertEquals((await world.namespaces()).length, 1);
});

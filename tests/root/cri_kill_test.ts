// `kill -9` of the daemon in each phase of a call of the CRI, and its restart: the same key works again, and nothing is left.
import { assert, assertEquals } from "@std/assert";
import { dirname } from "@std/path";
import { CRI_CLIENT, type CriDaemon, podConfig, startCri } from "../cri/cri_world.ts";
import { writeExecutable } from "../executable.ts";
import { binaryTest, type BinaryWorld, isThere, sh, SYSTEM_PATH, until } from "./binary_world.ts";
import { leftIn } from "./daemon_world.ts";
import { CATATONIT, RUNC } from "./need.ts";

const COMPONENTS = [...CRI_CLIENT, "runc", "catatonit"] as const;
const PATIENCE_MS = 120_000;

/** Where what podwire runs for a sandbox with an infra container can wait, in their order. */
const PHASES = {
  RunPodSandbox: [
    "before-create",
    "after-create",
    "before-start",
    "after-start",
    "first-ADD",
    "first-ADDED",
    "last-ADD",
    "last-ADDED",
  ],
  // The chain is detached from its end, and the infra container ends after it.
  StopPodSandbox: ["last-DEL", "last-DELETED", "first-DEL", "first-DELETED", "before-delete", "after-delete"],
  RemovePodSandbox: [
    "last-DEL",
    "last-DELETED",
    "first-DEL",
    "first-DELETED",
    "before-delete",
    "after-delete",
  ],
} as const;

/** A network of a bridge between two plugins that wait where the world says, and a runtime that does too. */
async function makeWaiting(world: BinaryWorld): Promise<void> {
  const hold = (phase: string) =>
    `[ -e ${world.dir}/hold-${phase} ] && { : >${world.dir}/held-${phase}; exec sleep 600; }`;
  for (const name of ["first", "last"]) {
    await world.plugin(
      name,
      `#!/bin/sh
input=$(cat)
case $CNI_COMMAND in
VERSION) echo '{"cniVersion":"1.0.0","supportedVersions":["1.0.0"]}' ;;
ADD)
  ${hold(`${name}-ADD`)}
  case $input in
  *prevResult*) printf '%s' "$input" | sed 's/.*"prevResult":\\(.*\\)}$/\\1/' ;;
  *) echo '{"cniVersion":"1.0.0"}' ;;
  esac
  ${hold(`${name}-ADDED`)} ;;
DEL)
  ${hold(`${name}-DEL`)}
  ${hold(`${name}-DELETED`)} ;;
esac
exit 0
`,
    );
  }
  await Deno.mkdir(`${world.dir}/oci`);
  writeExecutable(
    `${world.dir}/oci/runc`,
    `#!/bin/sh
for argument; do case $argument in create | start | delete) verb=$argument; break ;; esac; done
${
      ["create", "start", "delete"].map((verb) => `[ "$verb" = ${verb} ] && ${hold(`before-${verb}`)}`).join(
        "\n",
      )
    }
${RUNC} "$@"
code=$?
${["create", "start", "delete"].map((verb) => `[ "$verb" = ${verb} ] && ${hold(`after-${verb}`)}`).join("\n")}
exit $code
`,
  );
  await world.list([{ type: "first" }, world.bridgePlugin({ ipMasq: false }), { type: "last" }]);
}

function start(world: BinaryWorld): Promise<CriDaemon> {
  return startCri(world, [], { PATH: `${world.dir}/oci:${dirname(CATATONIT)}:${SYSTEM_PATH}` });
}

const LINUX = { security_context: { namespace_options: { network: "POD", pid: "POD", ipc: "POD" } } };
const configOf = (phase: string, attempt = 0) => podConfig(`web-${phase}`, { linux: LINUX, attempt });

/** Makes a call that waits in a phase, and kills the daemon then. */
async function killIn(
  world: BinaryWorld,
  { client, daemon }: CriDaemon,
  { phase, method, request }: { readonly phase: string; readonly method: string; readonly request: unknown },
): Promise<void> {
  await Deno.writeTextFile(`${world.dir}/hold-${phase}`, "");
  const { answer } = client.begin(method, request);
  await until(`${method} is in ${phase}`, () => isThere(`${world.dir}/held-${phase}`), PATIENCE_MS);
  daemon.child.kill("SIGKILL");
  await daemon.child.status;
  const { code } = await answer;
  assert(code !== "OK", `${method} has succeeded in ${phase}`);
  await Deno.remove(`${world.dir}/hold-${phase}`);
}

/** What is left when nothing is wanted. The daemon recovers while it serves. */
async function nothingIsLeft(world: BinaryWorld, { daemon }: CriDaemon, phase: string): Promise<void> {
  let left: readonly string[] = [];
  const own = `/proc/${daemon.child.pid}/`;
  await until(`nothing is left of ${phase}`, async () => {
    left = (await leftIn(world)).filter((line) => !line.startsWith(own));
    return left.length === 0;
  }, PATIENCE_MS).catch((error) => {
    throw new Error(`${error.message}: ${left.join("; ")}`);
  });
  assertEquals(await sh(`ip -o link show master ${world.bridge} 2>/dev/null || :`), "", phase);
}

binaryTest(
  "killed in each phase of RunPodSandbox, the daemon leaves nothing, and the same key works",
  COMPONENTS,
  async (world) => {
    await makeWaiting(world);
    for (const phase of PHASES.RunPodSandbox) {
      const config = configOf(phase);
      {
        await using cri = await start(world);
        await killIn(world, cri, { phase, method: "RunPodSandbox", request: { config } });
      }
      await using cri = await start(world);
      assertEquals(await cri.client.ok("ListPodSandbox"), { items: [] }, phase);
      await nothingIsLeft(world, cri, phase);
      const { pod_sandbox_id: id } = await cri.client.ok("RunPodSandbox", { config });
      const { status } = await cri.client.ok("PodSandboxStatus", { pod_sandbox_id: world.watch(id) });
      assertEquals(status.state, "SANDBOX_READY", phase);
      assert(status.network.ip.startsWith(world.subnet4), phase);
      await cri.client.ok("RemovePodSandbox", { pod_sandbox_id: id });
      await nothingIsLeft(world, cri, phase);
    }
  },
);

for (const method of ["StopPodSandbox", "RemovePodSandbox"] as const) {
  binaryTest(
    `killed in each phase of ${method}, the daemon ends it when it is asked again, and leaves nothing`,
    COMPONENTS,
    async (world) => {
      await makeWaiting(world);
      for (const phase of PHASES[method]) {
        let id = "";
        {
          await using cri = await start(world);
          ({ pod_sandbox_id: id } = await cri.client.ok("RunPodSandbox", { config: configOf(phase) }));
          world.watch(id);
          await killIn(world, cri, { phase, method, request: { pod_sandbox_id: id } });
        }
        await using cri = await start(world);
        const { client } = cri;
        await client.ok(method, { pod_sandbox_id: id });
        if (method === "StopPodSandbox") {
          const { status } = await client.ok("PodSandboxStatus", { pod_sandbox_id: id });
          assertEquals(status.state, "SANDBOX_NOTREADY", phase);
        }
        // The kubelet asks for the next attempt while it keeps the one before.
        const next = await client.ok("RunPodSandbox", { config: configOf(phase, 1) });
        world.watch(next.pod_sandbox_id);
        for (const pod_sandbox_id of [id, next.pod_sandbox_id]) {
          await client.ok("RemovePodSandbox", { pod_sandbox_id });
        }
        assertEquals(await client.ok("ListPodSandbox"), { items: [] }, phase);
        await nothingIsLeft(world, cri, phase);
      }
    },
  );
}

// `./denow task cri:generate` runs this: makes the messages and calls of the CRI from Kubernetes' api.proto, which the component
// "cri-api" has. Both generators come from npm.
import { fromFileUrl } from "@std/path";
import { programOutput } from "../program_output.ts";
import { CRI_PROTO } from "../root/need.ts";

const OUTPUT = fromFileUrl(new URL("../../lib/cri/generated", import.meta.url));
const BUF = "npm:@bufbuild/buf@1.75.0";
const PLUGIN = "npm:@bufbuild/protoc-gen-es@2.17.0";
/** Programs of npm, which need no configuration of ours. */
const RUN = ["run", "--quiet", "--allow-all", "--no-config", "--no-lock"];

async function generate(): Promise<void> {
  const work = await Deno.makeTempDir({ prefix: "cri-generate-" });
  try {
    await Deno.mkdir(`${work}/proto`);
    await Deno.copyFile(CRI_PROTO, `${work}/proto/api.proto`);
    await Deno.writeTextFile(
      `${work}/buf.yaml`,
      JSON.stringify({ version: "v2", modules: [{ path: "proto" }] }),
    );
    const plugin = {
      local: [Deno.execPath(), ...RUN, PLUGIN],
      out: OUTPUT,
      opt: ["target=ts", "import_extension=ts"],
    };
    await Deno.writeTextFile(`${work}/buf.gen.yaml`, JSON.stringify({ version: "v2", plugins: [plugin] }));
    await programOutput(Deno.execPath(), [...RUN, BUF, "generate"], work);
  } finally {
    await Deno.remove(work, { recursive: true });
  }
}

if (import.meta.main) await generate();

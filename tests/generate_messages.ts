// Makes TypeScript of files of Protocol Buffers, with the two generators that npm has.
import { programOutput } from "./program_output.ts";

const BUF = "npm:@bufbuild/buf@1.75.0";
const PLUGIN = "npm:@bufbuild/protoc-gen-es@2.17.0";
/** Programs of npm, which need no configuration of ours. */
const RUN = ["run", "--quiet", "--allow-all", "--no-config", "--no-lock"];

/** Writes `NAME_pb.ts` into `output` for each of the files, which are given as the text of `NAME.proto` by their name. */
export async function generateMessages(
  files: Readonly<Record<string, string>>,
  output: string,
): Promise<void> {
  const work = await Deno.makeTempDir({ prefix: "generate-messages-" });
  try {
    await Deno.mkdir(`${work}/proto`);
    for (const [name, text] of Object.entries(files)) {
      await Deno.writeTextFile(`${work}/proto/${name}`, text);
    }
    await Deno.writeTextFile(
      `${work}/buf.yaml`,
      JSON.stringify({ version: "v2", modules: [{ path: "proto" }] }),
    );
    const plugin = {
      local: [Deno.execPath(), ...RUN, PLUGIN],
      out: output,
      opt: ["target=ts", "import_extension=ts"],
    };
    await Deno.writeTextFile(`${work}/buf.gen.yaml`, JSON.stringify({ version: "v2", plugins: [plugin] }));
    await programOutput(Deno.execPath(), [...RUN, BUF, "generate"], work);
  } finally {
    await Deno.remove(work, { recursive: true });
  }
}

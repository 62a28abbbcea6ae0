// `./denow task nri:generate` runs this: makes the messages of NRI and of ttrpc, from the files that the components "nri" and
// "ttrpc" have.
import { fromFileUrl } from "@std/path";
import { generateMessages } from "../generate_messages.ts";
import { NRI_PROTO, TTRPC_PROTO } from "../root/need.ts";

const OUTPUT = fromFileUrl(new URL("../../lib/nri/generated", import.meta.url));

/** What the other file of the same source begins with: this one has no header of its own. */
function licenseOf(text: string): string {
  const end = text.indexOf("*/");
  if (!text.startsWith("/*") || end < 0) throw new Error("api.proto does not begin with its license");
  return text.slice(0, end + "*/".length);
}

/** What ttrpc sends is google.rpc.Status; the file of that name beside request.proto has its code only. */
const STATUS = `syntax = "proto3";
package ttrpc;
message Status {
  int32 code = 1;
  string message = 2;
}
`;

/** Returns the files of Protocol Buffers by their names. */
export async function nriProtos(): Promise<Readonly<Record<string, string>>> {
  const api = await Deno.readTextFile(NRI_PROTO);
  const request = (await Deno.readTextFile(TTRPC_PROTO)).replace('"proto/status.proto"', '"status.proto"');
  const license = licenseOf(api);
  return {
    "api.proto": api,
    "request.proto": `${license}\n${request}`,
    "status.proto": `${license}\n${STATUS}`,
  };
}

if (import.meta.main) await generateMessages(await nriProtos(), OUTPUT);

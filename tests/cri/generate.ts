// `./denow task cri:generate` runs this: makes the messages and calls of the CRI from Kubernetes' api.proto, which the component
// "cri-api" has.
import { fromFileUrl } from "@std/path";
import { generateMessages } from "../generate_messages.ts";
import { CRI_PROTO } from "../root/need.ts";

const OUTPUT = fromFileUrl(new URL("../../lib/cri/generated", import.meta.url));

if (import.meta.main) await generateMessages({ "api.proto": await Deno.readTextFile(CRI_PROTO) }, OUTPUT);

import { assert, assertEquals } from "@std/assert";
import { file_api, Plugin, Runtime } from "../../lib/nri/generated/api_pb.ts";
import { file_request } from "../../lib/nri/generated/request_pb.ts";
import { file_status } from "../../lib/nri/generated/status_pb.ts";
import { need, NRI_PROTO } from "../root/need.ts";
import { nriProtos } from "./generate.ts";

const names = (text: string, pattern: RegExp) =>
  [...text.matchAll(pattern)].map(([, name = ""]) => name).toSorted();

Deno.test({
  name: "the generated code has every message, enumeration and call of the files of NRI and ttrpc",
  ...need("nri"),
  fn: async () => {
    const proto = await Deno.readTextFile(NRI_PROTO);
    const calls = [Plugin, Runtime].flatMap(({ methods }) => methods.map(({ name }) => name));
    assert(calls.length > 8 && file_api.messages.length > 40, `${calls.length} calls`);
    assertEquals(calls.toSorted(), names(proto, /^ +rpc (\w+)\(/gm));
    const protos = await nriProtos();
    const files = { "api.proto": file_api, "request.proto": file_request, "status.proto": file_status };
    for (const [name, file] of Object.entries(files)) {
      const text = protos[name] ?? "";
      assertEquals(file.messages.map(({ name }) => name).toSorted(), names(text, /^message (\w+)/gm), name);
      assertEquals(file.enums.map(({ name }) => name).toSorted(), names(text, /^enum (\w+)/gm), name);
    }
  },
});

Deno.test("the generated code of NRI and ttrpc keeps the license of its source", async () => {
  for (const name of ["api", "request", "status"]) {
    const text = await Deno.readTextFile(new URL(`../../lib/nri/generated/${name}_pb.ts`, import.meta.url));
    const license = "//\n//Copyright The containerd Authors.\n//\n//Licensed under the Apache License";
    assert(text.startsWith(license), name);
  }
});

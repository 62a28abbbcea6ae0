import { file_api, ImageService, RuntimeService } from "../../lib/cri/generated/api_pb.ts";
import { assert, assertEquals } from "@std/assert";
import { CRI_PROTO, need } from "../root/need.ts";

Deno.test({
  name: "the generated code has every message, enumeration and call of Kubernetes' api.proto",
  ...need("cri-api"),
  fn: async () => {
    const proto = await Deno.readTextFile(CRI_PROTO);
    const names = (pattern: RegExp) => [...proto.matchAll(pattern)].map(([, name = ""]) => name).toSorted();
    const calls = [RuntimeService, ImageService].flatMap(({ methods }) => methods.map(({ name }) => name));
    const messages = file_api.messages.map(({ name }) => name);
    assert(calls.length > 40 && messages.length > 150, `${calls.length} calls, ${messages.length} messages`);
    assertEquals(calls.toSorted(), names(/^ +rpc (\w+)\(/gm));
    assertEquals(messages.toSorted(), names(/^message (\w+)/gm));
    assertEquals(file_api.enums.map(({ name }) => name).toSorted(), names(/^enum (\w+)/gm));
  },
});

Deno.test("the generated code keeps the license of its source", async () => {
  const text = await Deno.readTextFile(new URL("../../lib/cri/generated/api_pb.ts", import.meta.url));
  assert(
    text.startsWith("//\n//Copyright 2020 The Kubernetes Authors.\n//\n//Licensed under the Apache License"),
  );
});

// A full disk, and one for the links alone, under the addresses of the built-in host-local.
import { assertEquals, assertMatch } from "@std/assert";
import { Addresses } from "../builtin/addresses.ts";
import { inTempDir } from "../temp_dir.ts";
import { need } from "./need.ts";
import { empty, fill, NO_SPACE, READ_ONLY, readOnly, withDisk, writable } from "./small_disk.ts";

Deno.test({
  name:
    "U19 host-local on a full disk takes no address, leaves nothing of it, and frees those that are taken",
  ...need("root"),
  fn: () =>
    inTempDir((dir) =>
      withDisk(`${dir}/disk`, async () => {
        const addresses = new Addresses(`${dir}/disk`);
        for (const id of ["a", "b"]) await addresses.add(id);
        await fill(addresses.dir);
        assertMatch(await addresses.refusal("ADD", "c"), NO_SPACE);
        assertEquals(addresses.reserved(), { "10.1.2.2": "a\r\neth0", "10.1.2.3": "b\r\neth0" });
        assertEquals(addresses.links(), ["a@eth0@10.1.2.2", "b@eth0@10.1.2.3"]);
        await addresses.done("DEL", "a");
        await empty(addresses.dir);
        await addresses.add("c");
        await readOnly(addresses.dir);
        assertMatch(await addresses.refusal("DEL", "c"), READ_ONLY);
        await writable(addresses.dir);
        for (const id of ["b", "c"]) await addresses.done("DEL", id);
        assertEquals(addresses.reserved(), {});
        assertEquals(addresses.links(), []);
      })
    ),
});

Deno.test({
  name: "host-local needs no links: their folder may be on another disk",
  ...need("root"),
  fn: () =>
    inTempDir((dir) =>
      withDisk(`${dir}/.podwire`, async () => {
        const addresses = new Addresses(dir);
        for (const id of ["a", "b"]) await addresses.add(id);
        await addresses.done("CHECK", "a");
        await addresses.done("DEL", "a");
        assertEquals(addresses.reserved(), { "10.1.2.3": "b\r\neth0" });
        await addresses.gc([]);
        assertEquals(addresses.reserved(), {});
      })
    ),
});

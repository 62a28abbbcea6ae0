// What a loss of power leaves of an address, and where the links that are against it cannot be used.
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { fromFileUrl } from "@std/path";
import { linkKey } from "../../lib/builtin/address_links.ts";
import { FileCalls } from "../file_calls.ts";
import { inTempDir } from "../temp_dir.ts";
import { Addresses, withAddresses } from "./addresses.ts";

const DENOW = fromFileUrl(new URL("../../denow", import.meta.url));
const PROGRAM = fromFileUrl(new URL("killed_plugin.ts", import.meta.url));

/** Leaves the name of a file and not its text, as some file systems do. */
const LOSSES: Readonly<Record<string, (path: string) => Promise<void>>> = {
  "an empty file": (path) => Deno.truncate(path),
  "zeros": (path) => Deno.writeTextFile(path, "\0".repeat(Deno.statSync(path).size)),
};

for (const [what, lose] of Object.entries(LOSSES)) {
  Deno.test(
    `a DEL frees an address of which a loss of power left ${what}`,
    withAddresses(async (addresses) => {
      assertEquals(await addresses.add("lost"), "10.1.2.2");
      assertEquals(await addresses.add("other"), "10.1.2.3");
      await lose(addresses.path("10.1.2.2"));
      await addresses.done("DEL", "lost");
      assertEquals(addresses.reserved(), { "10.1.2.3": "other\r\neth0" });
      assertEquals(addresses.links(), ["other@eth0@10.1.2.3"]);
    }),
  );

  Deno.test(
    `an address of which a loss of power left ${what} stays reserved until its DEL`,
    withAddresses(async (addresses) => {
      await addresses.add("lost");
      await lose(addresses.path("10.1.2.2"));
      assertEquals(await addresses.add("other"), "10.1.2.3");
      assertStringIncludes(await addresses.refusal("ADD", "lost"), "10.1.2.2 has been allocated to lost");
      await addresses.done("DEL", "other");
      assertEquals(Object.keys(addresses.reserved()), ["10.1.2.2"]);
    }),
  );

  Deno.test(
    `GC keeps an address of a valid attachment of which a loss of power left ${what}, and frees all others`,
    withAddresses(async (addresses) => {
      for (const id of ["a", "b"]) await addresses.add(id);
      for (const ip of ["10.1.2.2", "10.1.2.3"]) await lose(addresses.path(ip));
      await addresses.gc(["a"]);
      assertEquals(Object.keys(addresses.reserved()), ["10.1.2.2"]);
      assertEquals(addresses.links(), ["a@eth0@10.1.2.2"]);
    }),
  );
}

Deno.test(
  "an empty file that another program made stays, also in the place of an address that was freed by hand",
  withAddresses(async (addresses) => {
    await addresses.add("a");
    await Deno.writeTextFile(addresses.path("10.1.2.5"), "");
    await Deno.remove(addresses.path("10.1.2.2"));
    await Deno.writeTextFile(addresses.path("10.1.2.2"), "");
    await addresses.done("DEL", "a");
    assertEquals(Object.keys(addresses.reserved()), ["10.1.2.2", "10.1.2.5"]);
    assertEquals(addresses.links(), []);
  }),
);

Deno.test(
  "an address of which another program took the file is not freed by its former owner",
  withAddresses(async (addresses) => {
    await addresses.add("a");
    await addresses.foreign("10.1.2.2", "b\r\neth0");
    await addresses.done("DEL", "a");
    assertEquals(addresses.reserved(), { "10.1.2.2": "b\r\neth0" });
    await addresses.done("DEL", "b");
    assertEquals(addresses.reserved(), {});
  }),
);

Deno.test(
  "a process that was killed after it made the link leaves an address that is free, and the link goes with the next DEL",
  withAddresses(async (addresses) => {
    await addresses.add("a");
    await Deno.remove(addresses.path("10.1.2.2"));
    assertEquals(await addresses.add("a", "IP=10.1.2.2"), "10.1.2.2");
    await Deno.remove(addresses.path("10.1.2.2"));
    await addresses.done("DEL", "a");
    assertEquals(addresses.links(), []);
  }),
);

Deno.test(
  "files that the original made are found by their owner, however many changes they come between",
  withAddresses(async (addresses) => {
    await addresses.foreign("10.1.2.77", "x\r\neth0");
    await addresses.add("a");
    assertEquals(addresses.links(), ["a@eth0@10.1.2.2", "x@eth0@10.1.2.77"]);
    assertStringIncludes(await addresses.refusal("ADD", "x"), "10.1.2.77 has been allocated to x");
    await addresses.foreign("10.1.2.78", "y\r\neth0");
    assertStringIncludes(await addresses.refusal("ADD", "y"), "10.1.2.78 has been allocated to y");
    await Deno.remove(addresses.path("10.1.2.78"));
    assertEquals(await addresses.add("y"), "10.1.2.3");
    await addresses.done("DEL", "x");
    assertEquals(Object.keys(addresses.reserved()), ["10.1.2.2", "10.1.2.3"]);
  }),
);

Deno.test(
  "the text of a file decides, also if another owner was written into it by hand",
  withAddresses(async (addresses) => {
    for (const id of ["a", "b", "c"]) await addresses.add(id);
    for (const ip of ["10.1.2.2", "10.1.2.3"]) await Deno.writeTextFile(addresses.path(ip), "new\r\neth0");
    await addresses.gc(["new", "c"]);
    assertEquals(Object.keys(addresses.reserved()), ["10.1.2.2", "10.1.2.3", "10.1.2.4"]);
    await addresses.done("DEL", "a");
    assertEquals(addresses.links(), ["c@eth0@10.1.2.4", "new@eth0@10.1.2.2", "new@eth0@10.1.2.3"]);
    await addresses.done("DEL", "new");
    assertEquals(addresses.reserved(), { "10.1.2.4": "c\r\neth0" });
  }),
);

Deno.test("ADD, CHECK and DEL take as many steps beside 200 addresses as beside 10, and one list of a small folder", async () => {
  assertEquals(await stepsBeside(200), await stepsBeside(10));
});

async function stepsBeside(count: number): Promise<Readonly<Record<string, number>>> {
  return await inTempDir(async (dir) => {
    const addresses = new Addresses(dir);
    for (let n = 0; n < count; n++) await addresses.foreign(`10.1.2.${50 + n}`, `x${n}\r\neth0`);
    await addresses.add("first");
    using calls = new FileCalls();
    await addresses.add("pod");
    await addresses.done("CHECK", "pod");
    await addresses.done("DEL", "pod");
    const { names = 0, ...steps } = calls.take();
    assert(names < 10, `${names} names`);
    return steps;
  });
}

/** Why links cannot be made. */
const OBSTACLES: Readonly<Record<string, (addresses: Addresses) => Promise<void>>> = {
  "a file in the place of their folder": ({ dir }) => Deno.writeTextFile(`${dir}/.podwire`, ""),
  "a link that leads nowhere in the place of their folder": ({ dir }) =>
    Deno.symlink("/nowhere/at/all", `${dir}/.podwire`),
  "a file in the place of the folder of the network": async ({ dir }) => {
    await Deno.mkdir(`${dir}/.podwire`);
    await Deno.writeTextFile(`${dir}/.podwire/web`, "");
  },
};

for (const [what, make] of Object.entries(OBSTACLES)) {
  Deno.test(
    `${what} costs time, and nothing else`,
    withAddresses(async (addresses) => {
      await make(addresses);
      for (const id of ["a", "b", "c"]) await addresses.add(id);
      assertStringIncludes(await addresses.refusal("ADD", "a"), "10.1.2.2 has been allocated to a");
      await addresses.done("CHECK", "b");
      await addresses.done("DEL", "b");
      assertEquals(Object.keys(addresses.reserved()), ["10.1.2.2", "10.1.2.4"]);
      await addresses.gc(["c"]);
      assertEquals(addresses.reserved(), { "10.1.2.4": "c\r\neth0" });
      await addresses.done("DEL", "c");
      assertEquals(addresses.reserved(), {});
    }),
  );
}

Deno.test(
  "a script that may change only the directory of the network gets addresses there, and frees them",
  withAddresses(async (addresses) => {
    await addresses.add("first");
    const run = async (verb: "ADD" | "DEL") => {
      const write = `--allow-write=${addresses.path("")}`;
      // From Deno 2.8.3 on, `sh` looks at the network namespace.
      const args = [
        "run",
        "-q",
        "--no-prompt",
        "--allow-read",
        "--allow-run=sh",
        write,
        PROGRAM,
        addresses.dir,
        "0",
        verb,
      ];
      const { success, stderr } = await new Deno.Command(DENOW, { args }).output();
      assert(success, new TextDecoder().decode(stderr));
    };
    await run("ADD");
    assertEquals(addresses.reserved(), { "10.1.2.2": "first\r\neth0", "10.1.2.3": "a\r\neth0" });
    assertEquals(addresses.links(), ["first@eth0@10.1.2.2"]);
    await run("DEL");
    assertEquals(addresses.reserved(), { "10.1.2.2": "first\r\neth0" });
  }),
);

Deno.test("no two owners share the names of their links, and each name fits into a directory", () => {
  const long = "c".repeat(255);
  const texts = [
    "a\r\neth0",
    "a",
    "a\r\n",
    "a@eth0",
    "a\r\neth@0",
    "a/../b\r\neth0",
    "../a",
    ".",
    long,
    `${long}\r\neth0`,
  ];
  const keys = texts.map(linkKey);
  assertEquals(new Set(keys).size, texts.length);
  for (const key of keys) {
    assertEquals(key.includes("/") || key.startsWith(".") || key.length > 200, false, key);
  }
});

import { assertEquals, assertThrows } from "@std/assert";
import { removeNow } from "../../lib/host/file.ts";
import {
  inDirNow,
  isOneFileNow,
  isThereNow,
  linkNow,
  makeNow,
  namesNow,
  overwriteNow,
  setTimesNow,
} from "../../lib/host/file_now.ts";
import { inTempDir } from "../temp_dir.ts";

Deno.test("what is not there has no names, is removed already, and is not a file", () =>
  inTempDir((dir) => {
    const path = `${dir}/none`;
    assertEquals(
      [namesNow(path), removeNow(path), isThereNow(path), isOneFileNow(path, dir), isOneFileNow(dir, path)],
      [[], false, false, false, false],
    );
    return Promise.resolve();
  }));

Deno.test("a file is made once, for its owner only, in a directory that is made when it is needed", () =>
  inTempDir((dir) => {
    const path = `${dir}/a/b/file`;
    assertThrows(() => makeNow(path, "text"), Deno.errors.NotFound);
    inDirNow(`${dir}/a/b`, () => makeNow(path, "text"));
    assertEquals(Deno.readTextFileSync(path), "text");
    assertEquals([path, `${dir}/a/b`].map((one) => Deno.statSync(one).mode! & 0o777), [0o600, 0o700]);
    assertThrows(() => makeNow(path, "other"), Deno.errors.AlreadyExists);
    assertEquals(Deno.readTextFileSync(path), "text");
    return Promise.resolve();
  }));

Deno.test("a second name is one file with the first, and takes no other file's place", () =>
  inTempDir((dir) => {
    const [first, second, other] = ["first", "second", "other"].map((name) => `${dir}/${name}`) as [
      string,
      string,
      string,
    ];
    for (const path of [first, other]) makeNow(path, "text");
    assertEquals([linkNow(first, second), linkNow(first, other)], [true, false]);
    assertEquals([isOneFileNow(first, second), isOneFileNow(first, other)], [true, false]);
    assertEquals(removeNow(first), true);
    assertEquals(namesNow(dir).sort(), ["other", "second"]);
    return Promise.resolve();
  }));

Deno.test("a link that leads nowhere is there", () =>
  inTempDir((dir) => {
    Deno.symlinkSync("/nowhere/at/all", `${dir}/link`);
    assertEquals(isThereNow(`${dir}/link`), true);
    return Promise.resolve();
  }));

Deno.test("times are set to the millisecond, also those of a directory", () =>
  inTempDir((dir) => {
    setTimesNow(dir, 1_000_000_123);
    assertEquals(Deno.statSync(dir).mtime?.getTime(), 1_000_000_123);
    return Promise.resolve();
  }));

Deno.test("a text that is overwritten in place has the length of the new one, and the file stays the same", () =>
  inTempDir(async (dir) => {
    const path = `${dir}/last`;
    overwriteNow(path, "10.0.0.1");
    const before = await Deno.stat(path);
    assertEquals((before.mode ?? 0) & 0o777, 0o600);
    // A link is replaced, and not followed.
    await Deno.writeTextFile(`${dir}/other`, "theirs");
    await Deno.symlink("other", `${dir}/link`);
    overwriteNow(`${dir}/link`, "10.0.0.1");
    assertEquals(await Deno.readTextFile(`${dir}/other`), "theirs");
    assertEquals(Deno.lstatSync(`${dir}/link`).isFile, true);
    for (const text of ["10.0.0.200", "10.0.0.3", "", "fd00::1"]) {
      overwriteNow(path, text);
      assertEquals({ text: await Deno.readTextFile(path), ino: (await Deno.stat(path)).ino }, {
        text,
        ino: before.ino,
      });
    }
  }));

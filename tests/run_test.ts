import { assertEquals, assertThrows } from "@std/assert";
import { fromFileUrl } from "@std/path";
import { grouped, groupsOf } from "./groups.ts";
import { allTests, libraryTests } from "./library_tests.ts";
import { closing, countTests, minutesFor, readArguments } from "./run.ts";

Deno.test("the runner reads Deno's closing line", async (t) => {
  const cases: [text: string, code: number, counts: [number, number, number]][] = [
    ["ok | 4 passed (8 steps) | 0 failed (29ms)\n", 0, [4, 0, 0]],
    ["ok | 4 passed | 0 failed | 2 ignored (1 step) (29ms)\n", 0, [4, 0, 2]],
    ["FAILED | 6 passed (44 steps) | 2 failed (3 steps) (22s)\n\nerror: Test failed\n", 1, [6, 2, 0]],
    ["ok | 0 passed | 0 failed | 7 filtered out (4s)\n", 0, [0, 0, 0]],
    ["a test that prints\nok | 99 passed | 0 failed (1s)\nFAILED | 1 passed | 1 failed (2s)\n", 1, [1, 1, 0]],
  ];
  for (const [text, code, [passed, failed, skipped]] of cases) {
    await t.step(text.trim(), () => assertEquals(countTests(text, code), { passed, failed, skipped }));
  }
});

Deno.test("the runner counts a run without a closing line, or with a late crash, as a failure", () => {
  assertEquals(countTests("error: Type checking failed.\n", 1), { passed: 0, failed: 1, skipped: 0 });
  assertEquals(countTests("ok | 4 passed | 0 failed (29ms)\n", 1), { passed: 4, failed: 1, skipped: 0 });
});

Deno.test("the runner's last line adds up, and no test is not a success", () => {
  const outcome = (passed: number, failed: number, skipped: number) => ({ passed, failed, skipped });
  assertEquals(closing([outcome(3, 0, 0), outcome(2, 0, 0)]), { line: "5 passed, 0 failed", code: 0 });
  assertEquals(closing([outcome(3, 0, 1), outcome(0, 1, 2)]), {
    line: "3 passed, 1 failed, 3 skipped",
    code: 1,
  });
  assertEquals(closing([outcome(0, 0, 4)]), { line: "0 passed, 0 failed, 4 skipped", code: 1 });
  assertEquals(closing([]), { line: "0 passed, 0 failed", code: 1 });
});

Deno.test("the runner reads for which Deno the tests are, and passes the rest on", () => {
  const cases: [args: string[], versions: string[], strict: boolean, rest: string[]][] = [
    [[], ["pinned"], false, []],
    [["--strict"], ["pinned"], true, []],
    [["--deno", "2.9.6"], ["2.9.6"], false, []],
    [["--deno=newest", "tests/cni"], ["newest"], false, ["tests/cni"]],
    [["--deno", "pinned", "--strict", "--deno", "newest", "--filter", "x"], ["pinned", "newest"], true, [
      "--filter",
      "x",
    ]],
  ];
  for (const [args, versions, strict, rest] of cases) {
    assertEquals(readArguments(args), { versions, strict, rest }, args.join(" "));
  }
  for (const args of [["--deno"], ["--deno="]]) {
    assertThrows(() => readArguments(args), TypeError, "--deno needs");
  }
});

Deno.test("a run on another Deno has the tests of the library, and none that only run the binary or tools", async () => {
  const tests = await libraryTests();
  const has = (path: string) => tests.includes(`tests/${path}`);
  const library = ["cni/json_test.ts", "host/file_test.ts", "root/pods_test.ts", "root/host_netns_test.ts"];
  assertEquals(library.filter(has), library);
  assertEquals(has("root/readme_library_test.ts"), true);
  assertEquals(
    ["denow_test.ts", "compile_test.ts", "root/binary_life_test.ts", "root/daemon_kill_test.ts"].filter(has),
    [],
  );
});

Deno.test("CI is one call of the runner, for both Denos, with nothing left out", async () => {
  const lines = (await Deno.readTextFile(new URL("../.ci/run", import.meta.url))).split("\n");
  const calls = lines.filter((line) => line.includes("denow"));
  assertEquals(calls, ["exec ./denow task test --deno pinned --deno newest </dev/null"]);
});

Deno.test("all runs of a task end before CI does, and each has enough time", () => {
  for (const gone of [0, 5, 20]) {
    const first = minutesFor(1, gone);
    const longestOfAll = gone + first + minutesFor(0, gone + first);
    assertEquals([longestOfAll < 85, first >= 25], [true, true], `${gone} minutes are gone`);
    assertEquals(minutesFor(0, gone + first) >= 35, true);
  }
  assertEquals(minutesFor(0, 0), 55);
  assertEquals([minutesFor(0, 90), minutesFor(1, 60)], [0, 0]);
});

Deno.test("files of a folder share a worker, all of them run once, and the heavy ones come first and alone", async () => {
  const tests = await allTests();
  const groups = groupsOf(tests);
  assertEquals(groups.flat().sort(), tests);
  for (const members of groups) {
    assertEquals(new Set(members.map((file) => file.slice(0, file.lastIndexOf("/")))).size, 1);
  }
  const placeOf = (file: string) =>
    groups.findIndex((members) => members.length === 1 && members[0] === file);
  const firstLight = groups.findIndex((members) => members.length > 1);
  for (const file of ["tests/many_sandboxes_test.ts", "tests/root/pods_test.ts"]) {
    assertEquals([file, placeOf(file) >= 0 && placeOf(file) < firstLight], [file, true]);
  }
  assertEquals(groups.length < tests.length * 0.6, true, `${groups.length} of ${tests.length}`);
});

Deno.test("the modules of a run are below one folder, whatever a version is called, and nothing of the last run stays", async () => {
  const root = fromFileUrl(new URL("..", import.meta.url));
  const version = `../root/${crypto.randomUUID()}`;
  const folder = `tests/.groups/deno-${version.replaceAll("/", "_")}`;
  try {
    await grouped(["tests/root/pods_test.ts", "tests/cni/json_test.ts"], version);
    const [path] = await grouped(["tests/cni/json_test.ts"], version);
    assertEquals(path, `${folder}/000.cni.json.ts`);
    assertEquals(Array.from(Deno.readDirSync(`${root}${folder}`), ({ name }) => name), ["000.cni.json.ts"]);
    assertEquals(await Deno.readTextFile(`${root}${path}`), 'import "../../../tests/cni/json_test.ts";\n');
  } finally {
    await Deno.remove(`${root}${folder}`, { recursive: true });
  }
});

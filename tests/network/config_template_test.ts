import { assertEquals, assertThrows } from "@std/assert";
import { fillTemplate, TemplateError } from "../../lib/network/config_template.ts";

const VALUES = { podCIDRs: ["10.1.0.0/24", "fd01::/64"], routes: ["0.0.0.0/0", "::/0"] };
const fill = (template: string) => fillTemplate(template, VALUES);

Deno.test("a template without braces is as it was", () => {
  for (const text of ["", "{}", '{"a": {"b": 1}}\n', "{ {podCIDR} }"]) assertEquals(fill(text), text);
});

Deno.test("the network of the pods is filled in, in both spellings", () => {
  assertEquals(fill('"{{podCIDR}}" "{{ .PodCIDR }}"'), '"10.1.0.0/24" "10.1.0.0/24"');
});

Deno.test("the template of containerd's documentation gives a range and a route for each family", () => {
  const template =
    `{"ranges": [{{range $i, $range := .PodCIDRRanges}}{{if $i}}, {{end}}[{"subnet": "{{$range}}"}]{{end}}],
 "routes": [{{range $i, $route := .Routes}}{{if $i}}, {{end}}{"dst": "{{$route}}"}{{end}}]}`;
  assertEquals(JSON.parse(fill(template)), {
    ranges: [[{ subnet: "10.1.0.0/24" }], [{ subnet: "fd01::/64" }]],
    routes: [{ dst: "0.0.0.0/0" }, { dst: "::/0" }],
  });
  const none = fillTemplate(template, { podCIDRs: [], routes: [] });
  assertEquals(JSON.parse(none), { ranges: [], routes: [] });
});

Deno.test("a dash removes the white space on its side", () => {
  assertEquals(fill("a \n {{- podCIDR -}} \n b"), "a10.1.0.0/24b");
});

Deno.test("what is not known is named, with its line", () => {
  const problem = (template: string) => {
    const { line, problem } = assertThrows(() => fill(template), TemplateError);
    return [line, problem];
  };
  assertEquals(problem("\n\n{{.Other}}"), [3, "{{.Other}} is not known"]);
  assertEquals(problem("{{if $i}}{{end}}"), [1, "there is no variable $i"]);
  assertEquals(problem("\n{{range $i, $r := .Others}}{{end}}"), [
    2,
    "{{range $i, $r := .Others}} is not known",
  ]);
  assertEquals(problem("{{range $i, $r := .Routes}}"), [1, "{{range $i, $r := .Routes}} has no {{end}}"]);
  assertEquals(problem("a\n{{end}}"), [2, "there is an {{end}} too many"]);
});

// The JavaScript client's ways of reading and counting, beyond what hub.mjs goes through.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";

const require = createRequire(`${process.env.HUGGINGFACE_JS}/`);
const hub = require("@huggingface/hub");
const at = { hubUrl: process.env.HF_ENDPOINT, accessToken: process.env.HF_TOKEN };
const me = await hub.whoAmI(at);

const all = async (generator) => {
  const found = [];
  for await (const each of generator) found.push(each);
  return found;
};
const safetensors = (tensors) => {
  const header = new TextEncoder().encode(JSON.stringify(tensors));
  const size = Math.max(0, ...Object.values(tensors).map((each) => each.data_offsets[1]));
  const file = new Uint8Array(8 + header.length + size);
  new DataView(file.buffer).setBigUint64(0, BigInt(header.length), true);
  file.set(header, 8);
  return new Blob([file]);
};
const one = safetensors({ w: { dtype: "F32", shape: [2, 3], data_offsets: [0, 24] } });
const two = safetensors({ b: { dtype: "BF16", shape: [4], data_offsets: [0, 8] } });
const index = { metadata: { total_size: 32 }, weight_map: { w: "model-00001-of-00002.safetensors", b: "model-00002-of-00002.safetensors" } };

const model = { type: "model", name: `${me.name}/weights` };
await hub.createRepo({ ...at, repo: model });
const events = await all(hub.uploadFilesWithProgress({
  ...at, repo: model, useXet: false, commitTitle: "Weights",
  files: [{ path: "model.safetensors", content: one }, { path: "deep/notes.txt", content: new Blob(["hello"]) }],
}));
assert.ok(events.some((each) => each.event === "fileProgress" && each.path === "model.safetensors"));
const parsed = await hub.parseSafetensorsMetadata({ ...at, repo: model.name, computeParametersCount: true });
assert.equal(parsed.sharded, false);
assert.deepEqual(parsed.parameterCount, { F32: 6 });
const info = await hub.modelInfo({ ...at, name: model.name, additionalFields: [
  "author", "cardData", "config", "createdAt", "disabled", "downloadsAllTime", "gitalyUid", "inferenceProviderMapping",
  "library_name", "model-index", "safetensors", "sha", "spaces", "tags", "transformersInfo", "filePaths",
] });
assert.deepEqual(info.safetensors, { parameters: { F32: 6 }, total: 6 });
assert.deepEqual(info.filePaths, [".gitattributes", "deep/notes.txt", "model.safetensors"]);

await hub.deleteFiles({ ...at, repo: model, paths: ["model.safetensors"] });
await hub.uploadFiles({ ...at, repo: model, useXet: false, files: [
  { path: "model-00001-of-00002.safetensors", content: one },
  { path: "model-00002-of-00002.safetensors", content: two },
  { path: "model.safetensors.index.json", content: new Blob([JSON.stringify(index)]) },
] });
const sharded = await hub.parseSafetensorsMetadata({ ...at, repo: model.name, computeParametersCount: true });
assert.equal(sharded.sharded, true);
assert.deepEqual(sharded.parameterCount, { F32: 6, BF16: 4 });
const older = await hub.modelInfo({ ...at, name: model.name, revision: info.sha, additionalFields: ["sha"] });
assert.equal(older.sha, info.sha);

assert.equal(await hub.countCommits({ ...at, repo: model }), 4);
assert.equal(await hub.countCommits({ ...at, repo: model, revision: info.sha }), 2);
assert.equal((await all(hub.listCommits({ ...at, repo: model, batchSize: 1 }))).length, 4);
await assert.rejects(hub.countCommits({ ...at, repo: model, revision: "nowhere" }), (error) => error.statusCode === 404);

const cacheDir = join(process.env.HOME, "cache");
const snapshot = await hub.snapshotDownload({ ...at, repo: model, cacheDir });
assert.equal(await readFile(join(snapshot, "deep/notes.txt"), "utf8"), "hello");
const cached = await hub.downloadFileToCacheDir({ ...at, repo: model, path: "deep/notes.txt", cacheDir });
assert.equal(await readFile(cached, "utf8"), "hello");
const pointer = await hub.downloadFile({ ...at, repo: model, path: "model-00001-of-00002.safetensors", raw: true });
assert.match(await pointer.text(), /^version https:\/\/git-lfs/);

const dataset = { type: "dataset", name: `${me.name}/rows` };
const card = { path: "README.md", content: new Blob(["---\nlanguage: [en]\n---\n# Rows\n"]) };
await hub.createRepo({ ...at, repo: dataset, files: [{ path: "rows.csv", content: new TextEncoder().encode("a\n1\n").buffer }] });
await hub.uploadFile({ ...at, repo: dataset, file: card });
const about = await hub.datasetInfo({ ...at, name: dataset.name, additionalFields: [
  "author", "cardData", "citation", "createdAt", "disabled", "description", "downloadsAllTime", "gitalyUid", "sha", "tags",
] });
assert.deepEqual(about.cardData, { language: ["en"] });
for (const sort of ["createdAt", "downloads", "likes", "lastModified", "likes30d", "trendingScore", "datasetsServerInfo.numRows", "mainSize", "id"]) {
  const found = await all(hub.listDatasets({ ...at, sort, limit: 1, search: { owner: me.name, query: "rows", tags: ["language:en"] } }));
  assert.deepEqual(found.map((each) => each.name), [dataset.name], sort);
}
const space = { type: "space", name: `${me.name}/demo` };
await hub.createRepo({ ...at, repo: space, sdk: "static" });
const fields = ["author", "cardData", "datasets", "disabled", "gitalyUid", "createdAt", "runtime", "sha", "subdomain", "tags", "models"];
assert.equal((await hub.spaceInfo({ ...at, name: space.name, additionalFields: fields })).author, me.name);
assert.equal((await all(hub.listSpaces({ ...at, additionalFields: fields, sort: "likes", search: { owner: me.name } }))).length, 1);
assert.deepEqual(await all(hub.listModels({ ...at, search: { owner: me.name, inferenceProviders: ["together"] } })), []);
assert.deepEqual(await all(hub.listModels({ ...at, search: { owner: me.name, task: "text-generation" } })), []);

const collection = await hub.createCollection({ ...at, collection: {
  title: "Apples", namespace: me.name, description: "and pears", private: true, item: { type: "model", id: model.name },
} });
for (const [search, count] of [[{ q: "PEARS" }, 1], [{ q: "plums" }, 0], [{ item: [`models/${model.name}`] }, 1], [{ owner: ["admin"] }, 0]]) {
  const found = await all(hub.listCollections({ ...at, limit: 5, sort: "lastModified", search: { owner: [me.name], ...search } }));
  assert.equal(found.length, count, JSON.stringify(search));
}
await hub.deleteCollection({ ...at, slug: collection.slug });
for (const repo of [model, dataset, space]) await hub.deleteRepo({ ...at, repo });
console.log("all of it worked");

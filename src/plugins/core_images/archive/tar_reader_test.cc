#include "plugins/core_images/archive/tar_reader.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <optional>

#include "base/fd.h"
#include "base/file.h"
#include "fmt/format.h"
#include "plugins/core_images/archive/tar_builder.h"

namespace container::archive {
namespace {

struct Read {
  TarEntry entry;
  std::string content;
};

struct Listing {
  std::vector<Read> entries;
  absl::Status status;

  const Read* Find(std::string_view name) const {
    for (const Read& read : entries) {
      if (read.entry.name == name) return &read;
    }
    return nullptr;
  }
};

Listing List(std::string_view archive, TarLimits limits = {}) {
  MemorySource source(archive);
  TarReader reader(source, limits);
  Listing listing;
  for (;;) {
    const absl::StatusOr<const TarEntry*> entry = reader.Next();
    listing.status = entry.status();
    if (!entry.ok() || *entry == nullptr) break;
    // An entry may claim any size: grow with what is really there.
    Read read{**entry, ""};
    for (;;) {
      const absl::StatusOr<TarData> data = reader.ReadData();
      listing.status = data.status();
      if (!data.ok()) return listing;
      if (data->bytes.empty()) break;
      read.content.resize(data->offset);
      read.content.append(data->bytes.begin(), data->bytes.end());
    }
    read.content.resize(read.entry.size_bytes);
    listing.entries.push_back(std::move(read));
  }
  if (listing.status.ok()) listing.status = reader.Drain();
  return listing;
}

// Runs a program to its end; false if it failed.
bool RunProgram(std::vector<std::string> argv) {
  std::vector<char*> pointers;
  for (std::string& argument : argv) pointers.push_back(argument.data());
  pointers.push_back(nullptr);
  const pid_t pid = fork();
  if (pid == 0) {
    execvp(pointers[0], pointers.data());
    _exit(127);
  }
  int status = 0;
  waitpid(pid, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

TEST(TarReaderTest, ReadsAnEmptyArchive) {
  EXPECT_TRUE(List("").status.ok());
  EXPECT_TRUE(List(std::string(1024, '\0')).status.ok());
  EXPECT_TRUE(List(std::string(10240, '\0')).entries.empty());
}

TEST(TarReaderTest, ReadsAllTypes) {
  TarBuilder tar;
  tar.Folder("d/", 01777).File("d/f", "content", 04755).Symlink("d/s", "f").HardLink("d/h", "d/f");
  tar.Header({.name = "c", .type = '3', .uid = 7, .gid = 8, .mtime = 9, .major = 5, .minor = 300});
  tar.Header({.name = "b", .type = '4', .major = 8, .minor = 1});
  tar.Header({.name = "p", .type = '6', .size = 77});  // a fifo has no data
  tar.File("end", std::string(1500, 'e'));
  const Listing listing = List(tar.Finish());
  ASSERT_TRUE(listing.status.ok()) << listing.status;
  ASSERT_EQ(listing.entries.size(), 8u);
  EXPECT_EQ(listing.entries[0].entry.type, EntryType::kDirectory);
  EXPECT_EQ(listing.entries[0].entry.mode, 01777u);
  EXPECT_EQ(listing.Find("d/f")->content, "content");
  EXPECT_EQ(listing.Find("d/f")->entry.mode, 04755u);
  EXPECT_EQ(listing.Find("d/s")->entry.link_target, "f");
  EXPECT_EQ(listing.Find("d/h")->entry.type, EntryType::kHardLink);
  const TarEntry& device = listing.Find("c")->entry;
  EXPECT_EQ(device.type, EntryType::kCharDevice);
  EXPECT_EQ(device.device_minor, 300u);
  EXPECT_EQ(device.mtime_seconds, 9);
  EXPECT_EQ(device.uid, 7u);
  EXPECT_EQ(listing.Find("p")->entry.type, EntryType::kFifo);
  EXPECT_EQ(listing.Find("end")->content, std::string(1500, 'e'));
}

TEST(TarReaderTest, ReadsExtendedHeaders) {
  const std::string long_name = std::string(300, 'n') + "/\xff\xfe";
  TarBuilder tar;
  tar.Extended({{"uid", "11"}, {"mtime", "5.25"}, {"path", "ignored"}}, 'g');
  tar.Extended({{"path", long_name},
                {"uid", "4000000000"},
                {"mtime", "-1.25"},
                {"SCHILY.xattr.user.a", std::string("x\0=\ny", 5)},
                {"SCHILY.xattr.user.empty", ""},
                {"comment", "nothing"}});
  tar.File("short", "1");
  tar.File("plain", "2");
  const Listing listing = List(tar.Finish());
  ASSERT_TRUE(listing.status.ok()) << listing.status;
  const Read* read = listing.Find(long_name);
  ASSERT_NE(read, nullptr);
  EXPECT_EQ(read->entry.uid, 4000000000u);
  EXPECT_EQ(read->entry.mtime_seconds, -2);
  EXPECT_EQ(read->entry.mtime_nanoseconds, 750'000'000u);
  EXPECT_EQ(read->entry.xattrs.at("user.a"), std::string("x\0=\ny", 5));
  EXPECT_EQ(read->entry.xattrs.count("user.empty"), 1u);
  ASSERT_NE(listing.Find("plain"), nullptr);
  EXPECT_EQ(listing.Find("plain")->entry.uid, 11u);
  EXPECT_EQ(listing.Find("plain")->entry.mtime_nanoseconds, 250'000'000u);
  EXPECT_TRUE(listing.Find("plain")->entry.xattrs.empty());
}

TEST(TarReaderTest, RefusesDamage) {
  const auto code = [](const std::string& archive, TarLimits limits = {}) {
    return List(archive, limits).status.code();
  };
  using absl::StatusCode;
  const std::string good = TarBuilder().File("file", std::string(5000, 'x')).Finish();
  for (const size_t size : {size_t{100}, size_t{512}, size_t{3000}, size_t{5512}}) {
    EXPECT_EQ(code(good.substr(0, size)), StatusCode::kDataLoss) << size;
  }
  std::string bad = good;
  bad[3] ^= 1;
  EXPECT_EQ(code(bad), StatusCode::kDataLoss);
  EXPECT_EQ(code(TarBuilder().Raw(std::string(512, '\0')).File("f", "").Finish()),
            StatusCode::kDataLoss);
  EXPECT_EQ(code(TarBuilder().Raw("random words, no tar").Data("").Finish()),
            StatusCode::kDataLoss);
  EXPECT_EQ(code(TarBuilder().Header({.name = "f", .size_field = "notanumber "}).Finish()),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(
      code(TarBuilder().Header({.name = "f", .size_field = std::string(12, '\xff')}).Finish()),
      StatusCode::kInvalidArgument);
  EXPECT_EQ(code(TarBuilder()
                     .Header({.name = "f", .size_field = "\x80" + std::string(11, '\xff')})
                     .Finish()),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(code(TarBuilder().Header({.name = "f", .size_field = "77777777777"}).Finish()),
            StatusCode::kDataLoss);
  EXPECT_EQ(code(TarBuilder().Header({.name = "f", .type = 'Z'}).Finish()),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(code(TarBuilder().Header({.name = "x", .type = 'x', .size = 5}).Data("9 a=b").Finish()),
            StatusCode::kDataLoss);
  EXPECT_EQ(code(TarBuilder().Extended({{"path", "p"}}).Finish()), StatusCode::kDataLoss);
  EXPECT_EQ(code(TarBuilder().Extended({{"path", std::string("a\0b", 3)}}).File("f", "").Finish()),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(code(TarBuilder().Extended({{"uid", "-1"}}).File("f", "").Finish()),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(code(TarBuilder().Extended({{"size", "99999999999999999999"}}).File("f", "").Finish()),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(code(TarBuilder().Extended({{"path", std::string(5000, 'a')}}).File("f", "").Finish()),
            StatusCode::kResourceExhausted);
  EXPECT_EQ(code(TarBuilder().Extended({{"comment", std::string(2 << 20, 'a')}}).Finish()),
            StatusCode::kResourceExhausted);
}

TEST(TarReaderTest, RefusesDamagedSparseMaps) {
  const auto map = [](std::string_view text, std::string_view size) {
    TarBuilder tar;
    tar.Extended({{"GNU.sparse.map", std::string(text)}, {"GNU.sparse.size", std::string(size)}});
    return List(tar.File("f", "12345678").Finish()).status.code();
  };
  EXPECT_EQ(map("0,4,100,4", "200"), absl::StatusCode::kOk);
  EXPECT_EQ(map("0,4,100,4", "103"), absl::StatusCode::kDataLoss);
  EXPECT_EQ(map("0,4,100,5", "200"), absl::StatusCode::kDataLoss);
  EXPECT_EQ(map("100,4,0,4", "200"), absl::StatusCode::kDataLoss);
  EXPECT_EQ(map("0,4,100", "200"), absl::StatusCode::kDataLoss);
  EXPECT_EQ(map("0,4,,", "200"), absl::StatusCode::kDataLoss);
  EXPECT_EQ(map("0,18446744073709551615,100,9", "200"), absl::StatusCode::kDataLoss);
}

// What GNU tar writes: every format, long names, large numbers, sparse files.
TEST(TarReaderTest, ReadsWhatGnuTarWrites) {
  const auto folder = base::TemporaryDirectory::Create();
  ASSERT_TRUE(folder.ok());
  const std::string root = folder->path() + "/root";
  const std::string deep = std::string(90, 'a') + "/" + std::string(120, 'b');
  ASSERT_TRUE(base::MakeDirectories(root + "/" + deep).ok());
  const std::string long_file = deep + "/" + std::string(200, 'c');
  ASSERT_TRUE(base::WriteFileAtomically(root + "/" + long_file, "deep").ok());
  ASSERT_EQ(symlink(long_file.c_str(), (root + "/link").c_str()), 0);
  ASSERT_EQ(link((root + "/" + long_file).c_str(), (root + "/second").c_str()), 0);
  std::string sparse(3 << 20, '\0');
  {
    const auto fd = base::Open(root + "/sparse", O_CREAT | O_WRONLY, 0644);
    ASSERT_TRUE(fd.ok());
    ASSERT_EQ(ftruncate(fd->get(), static_cast<off_t>(sparse.size())), 0);
    for (size_t at = 65536; at + 65536 < sparse.size(); at += 131072) {
      const std::string word = fmt::format("at {}", at);
      ASSERT_TRUE(base::PwriteAll(fd->get(), word, static_cast<off_t>(at)).ok());
      sparse.replace(at, word.size(), word);
    }
  }
  const std::vector<std::vector<std::string>> kinds = {
      {"--format=gnu"},
      {"--format=posix"},
      {"--format=gnu", "--sparse"},
      {"--format=posix", "--sparse", "--sparse-version=0.0"},
      {"--format=posix", "--sparse", "--sparse-version=0.1"},
      {"--format=posix", "--sparse", "--sparse-version=1.0"},
  };
  for (const std::vector<std::string>& kind : kinds) {
    SCOPED_TRACE(kind.back());
    const std::string file = folder->path() + "/t.tar";
    std::vector<std::string> argv = {"tar", "-cf", file, "--owner=:3000000", "--group=:4000000000",
                                     "-C",  root};
    argv.insert(argv.end(), kind.begin(), kind.end());
    argv.push_back(".");
    ASSERT_TRUE(RunProgram(argv));
    const auto bytes = base::ReadFile(file);
    ASSERT_TRUE(bytes.ok());
    const Listing listing = List(*bytes);
    ASSERT_TRUE(listing.status.ok()) << listing.status;
    const Read* first = listing.Find("./" + long_file);
    const Read* second = listing.Find("./second");
    ASSERT_TRUE(first != nullptr && second != nullptr);
    const bool first_is_link = first->entry.type == EntryType::kHardLink;
    EXPECT_EQ((first_is_link ? second : first)->content, "deep");
    EXPECT_EQ((first_is_link ? first : second)->entry.link_target,
              first_is_link ? "./second" : "./" + long_file);
    EXPECT_EQ(first->entry.uid, 3000000u);
    EXPECT_EQ(first->entry.gid, 4000000000u);
    EXPECT_EQ(listing.Find("./link")->entry.link_target, long_file);
    ASSERT_NE(listing.Find("./sparse"), nullptr);
    EXPECT_TRUE(listing.Find("./sparse")->content == sparse);
  }
}

}  // namespace
}  // namespace container::archive

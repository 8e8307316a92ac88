// database.cpp: SQLite at work: transfers between accounts, each a durable transaction.
//
// The database comes with the image. Transactions are SQLite's own, through a rollback
// journal or a write-ahead log, synchronous=EXTRA: with FULL, the unlinking of a rollback
// journal, which is its commit, is not synced, and a power loss may bring the journal back
// and take the transaction with it. For a write-ahead log both are the same.
#include <sqlite3.h>

#include <array>
#include <memory>

#include "workloads/content/fixtures.h"
#include "workloads/persistence/application.h"

namespace sbench {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kAccounts = 5000;
constexpr std::int64_t kStartBalance = 1000;
constexpr std::size_t kNoteBytes = 120;  ///< of text in every row

struct CloseDatabase {
  void operator()(sqlite3* handle) const { ::sqlite3_close(handle); }
};
struct FinalizeStatement {
  void operator()(sqlite3_stmt* handle) const { ::sqlite3_finalize(handle); }
};

/// One connection.
class Database {
 public:
  static Result<Database> open(const fs::path& path, int flags) {
    sqlite3* raw = nullptr;
    const int code = ::sqlite3_open_v2(path.c_str(), &raw, flags, nullptr);
    Database made(raw, path.string());
    return code == SQLITE_OK ? Result<Database>(std::move(made)) : Result<Database>(made.failure("open"));
  }

  [[nodiscard]] Error failure(const char* action) const {
    return plain_error(EIO, "SQLite cannot {} {}: {}", action, shown_,
                       handle_ != nullptr ? ::sqlite3_errmsg(handle_.get()) : "out of memory");
  }

  Status execute(const std::string& sql) {
    return ::sqlite3_exec(handle_.get(), sql.c_str(), nullptr, nullptr, nullptr) == SQLITE_OK
               ? Status()
               : Status(failure("change"));
  }

  /// The first column of the first row.
  Result<std::string> ask(const std::string& sql) {
    SBENCH_TRY_SET(const auto statement, prepare(sql));
    if (::sqlite3_step(statement.get()) != SQLITE_ROW) {
      return failure("read");
    }
    const auto* text = ::sqlite3_column_text(statement.get(), 0);
    return text == nullptr ? std::string() : std::string(reinterpret_cast<const char*>(text));
  }

  using Statement = std::unique_ptr<sqlite3_stmt, FinalizeStatement>;
  Result<Statement> prepare(const std::string& sql) {
    sqlite3_stmt* raw = nullptr;
    if (::sqlite3_prepare_v2(handle_.get(), sql.c_str(), -1, &raw, nullptr) != SQLITE_OK) {
      return failure("read");
    }
    return Statement(raw);
  }

  /// Runs a prepared change with up to three numbers bound.
  Status run(Statement& statement, std::initializer_list<std::int64_t> numbers) {
    int index = 0;
    for (const std::int64_t number : numbers) {
      ::sqlite3_bind_int64(statement.get(), ++index, number);
    }
    const int code = ::sqlite3_step(statement.get());
    ::sqlite3_reset(statement.get());
    return code == SQLITE_DONE ? Status() : Status(failure("change"));
  }

  /// Closes and says whether that worked.
  Status close() {
    const int code = ::sqlite3_close(handle_.release());
    return code == SQLITE_OK ? Status() : Status(plain_error(EIO, "SQLite cannot close {}", shown_));
  }

 private:
  Database(sqlite3* handle, std::string shown) : handle_(handle), shown_(std::move(shown)) {}

  std::unique_ptr<sqlite3, CloseDatabase> handle_;
  std::string shown_;
};

class Bank final : public Application {
 public:
  Bank(const Rng& rng, std::string journal, std::uint64_t transactions)
      : rng_(rng), journal_(std::move(journal)), transactions_(transactions) {}

  Status install(const fs::path& data) override {
    SBENCH_TRY_SET(auto database, Database::open(data / "bank.db", SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE));
    SBENCH_TRY(database.execute("PRAGMA page_size=4096"));
    SBENCH_TRY(database.execute("CREATE TABLE account(id INTEGER PRIMARY KEY, balance INTEGER NOT NULL, note TEXT);"
                                "CREATE TABLE transfer(id INTEGER PRIMARY KEY, source INTEGER, target INTEGER, "
                                "amount INTEGER, note TEXT); BEGIN"));
    SBENCH_TRY_SET(auto insert, database.prepare("INSERT INTO account VALUES(?1, ?2, ?3)"));
    const std::string note(kNoteBytes, 'n');
    for (std::uint64_t i = 0; i < kAccounts; ++i) {
      ::sqlite3_bind_text(insert.get(), 3, note.c_str(), -1, SQLITE_STATIC);
      SBENCH_TRY(database.run(insert, {static_cast<std::int64_t>(i), kStartBalance}));
    }
    insert.reset();
    SBENCH_TRY(database.execute("COMMIT"));
    return database.close();
  }

  Status work(Case& c, const fs::path& data) override {
    SBENCH_TRY_SET(auto database, Database::open(data / "bank.db", SQLITE_OPEN_READWRITE));
    SBENCH_TRY_SET(const std::string journal, database.ask("PRAGMA journal_mode=" + journal_));
    SBENCH_TRY(verify(journal == journal_, "SQLite journals by " + journal + ", not by " + journal_));
    SBENCH_TRY(database.execute("PRAGMA synchronous=EXTRA"));
    SBENCH_TRY_SET(const std::string synchronous, database.ask("PRAGMA synchronous"));
    SBENCH_TRY(verify(synchronous == "3", "SQLite syncs as EXTRA says (3), not as " + synchronous));
    SBENCH_TRY_SET(auto take, database.prepare("UPDATE account SET balance = balance - ?1 WHERE id = ?2"));
    SBENCH_TRY_SET(auto give, database.prepare("UPDATE account SET balance = balance + ?1 WHERE id = ?2"));
    SBENCH_TRY_SET(auto note, database.prepare("INSERT INTO transfer(source, target, amount, note) "
                                               "VALUES(?1, ?2, ?3, ?4)"));
    const std::string text(kNoteBytes, 't');
    ::sqlite3_bind_text(note.get(), 4, text.c_str(), -1, SQLITE_STATIC);
    Rng rng = rng_;
    for (std::uint64_t i = 0; i < transactions_; ++i) {
      const auto source = static_cast<std::int64_t>(rng.below(kAccounts));
      const auto target = static_cast<std::int64_t>(rng.below(kAccounts));
      const auto amount = static_cast<std::int64_t>(1 + rng.below(50));
      SBENCH_TRY(c.op("transaction", [&]() -> Status {
        SBENCH_TRY(database.execute("BEGIN IMMEDIATE"));
        SBENCH_TRY(database.run(take, {amount, source}));
        SBENCH_TRY(database.run(give, {amount, target}));
        SBENCH_TRY(database.run(note, {source, target, amount}));
        return database.execute("COMMIT");
      }));
    }
    take.reset();
    give.reset();
    note.reset();
    return database.close();
  }

  /// In another connection: the file is sound, no money is lost, every account and transfer is there as it was written.
  Status check(const fs::path& data, bool worked) override {
    // The image must not be written: there, SQLite is told that nothing can change under it.
    const std::string name = "file:" + (data / "bank.db").string() + (worked ? "" : "?immutable=1");
    SBENCH_TRY_SET(auto database,
                   Database::open(name, (worked ? SQLITE_OPEN_READWRITE : SQLITE_OPEN_READONLY) | SQLITE_OPEN_URI));
    SBENCH_TRY_SET(const std::string sound, database.ask("PRAGMA integrity_check"));
    SBENCH_TRY(verify(sound == "ok", "SQLite finds its file damaged: " + sound));
    SBENCH_TRY_SET(const std::string money, database.ask("SELECT sum(balance) FROM account"));
    SBENCH_TRY(verify(money == std::to_string(kAccounts * kStartBalance), "no money is lost: " + money));
    // integrity_check looks at the structure, not at what the rows say.
    SBENCH_TRY_SET(const std::string noted, database.ask(fmt::format("SELECT count(*) FROM account WHERE note = '{}'",
                                                                     std::string(kNoteBytes, 'n'))));
    SBENCH_TRY(verify(noted == std::to_string(kAccounts), "every account has its note: " + noted));
    SBENCH_TRY_SET(const std::string transfers, database.ask(fmt::format("SELECT count(*) FROM transfer WHERE note = '{}'",
                                                                         std::string(kNoteBytes, 't'))));
    SBENCH_TRY(verify(transfers == std::to_string(worked ? transactions_ : 0),
                      fmt::format("the database holds {} transfers, {} were made", transfers,
                                  worked ? transactions_ : 0)));
    SBENCH_TRY_SET(const std::string balance, database.ask("SELECT balance FROM account WHERE id = 7"));
    SBENCH_TRY(verify(balance == std::to_string(expected_balance(7, worked)), "account 7 has its balance"));
    return database.close();
  }

  std::uint64_t bytes_written() const override { return transactions_ * (kNoteBytes + 5 * sizeof(std::int64_t)); }

 private:
  /// Replays the transfers in memory.
  [[nodiscard]] std::int64_t expected_balance(std::int64_t account, bool worked) const {
    std::int64_t balance = kStartBalance;
    Rng rng = rng_;
    for (std::uint64_t i = 0; worked && i < transactions_; ++i) {
      const auto source = static_cast<std::int64_t>(rng.below(kAccounts));
      const auto target = static_cast<std::int64_t>(rng.below(kAccounts));
      const auto amount = static_cast<std::int64_t>(1 + rng.below(50));
      balance += (target == account ? amount : 0) - (source == account ? amount : 0);
    }
    return balance;
  }

  Rng rng_;
  std::string journal_;
  std::uint64_t transactions_;
};

Status run(Case& c) {
  Bank bank(c.rng("transfers"), c.params().text("journal"), c.params().number("transactions"));
  c.flag(std::string("sqlite_") + ::sqlite3_libversion());
  return run_application(c, "persistence-sqlite", bank);
}

const RegisterWorkload kRegistered{{
    .name = "persistence.sqlite",
    .summary = "durable SQLite transactions on a database the image comes with, in three places",
    .version = 2,
    .cache = "warm",
    .durability = "fsync-per-op",
    .params = {place_param(),
               {"journal",
                "SQLite's journal mode: rollback journal (delete) or write-ahead log (wal)",
                {{{"delete", "wal"}, {"wal"}, {"delete", "wal"}, {"delete", "wal"}}}},
               {"transactions", "transactions", {{{"20"}, {"100"}, {"2000"}, {"2000"}}}}},
    .run = run,
}};

}  // namespace
}  // namespace sbench
